"""Whoever waits for the inference process, a decoder or a bucket keeps nobody else waiting."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from core.errors import BucketUnavailable, ImageCorrupt, InferenceUnavailable, PerennialError
from tests.support.api.image_files import picture
from tests.support.api.orders import a_dataset
from tests.support.api.seeds import a_root
from tests.support.api.service import Service, code_of
from tests.support.processes import wait_for

CROWD = 45  # requests: more than there are threads


class Hung:
    """Takes every question and answers none before it is released."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked: list[object] = []
        self.released = threading.Event()
        self.crowd = CapacityLimiter(CROWD)

    def wait(self, *_: object, **__: object) -> None:
        """Be the method that hangs."""
        self.asked.append(None)
        self.released.wait(30)
        raise self.error

    async def answer(self, *_: object, **__: object) -> None:
        """Be the method that hangs, on the event loop."""
        await run_sync(self.wait, limiter=self.crowd)

    classify = decode = objects = wait


def crowded(service: Service, hung: Hung, least: int, send: Callable[[int], Any]) -> list[Any]:
    """The answers to a crowd of requests; while they wait an alias is read and rolled back."""
    with ThreadPoolExecutor(CROWD) as pool:
        waiting = pool.map(send, range(CROWD))
        wait_for(lambda: len(hung.asked) >= least, seconds=30)
        time.sleep(0.3)  # the others arrive
        alias = "/v1/models/demo/aliases/production"
        answered = threading.Event()
        told: list[int] = []

        def look() -> None:
            told.append(service.client.get(alias).status_code)
            told.append(service.client.post(f"{alias}/rollback", json={"reason": "r"}).status_code)
            answered.set()

        threading.Thread(target=look).start()
        in_time = answered.wait(10)
        hung.released.set()
        found = list(waiting)
    assert in_time
    assert told == [200, 409]
    return found


IMPORTS = "/v1/datasets/products/imports?s3=s3://photos"

CLASSES = {"classes": '["a"]'}

HANGING = [
    ("inference", InferenceUnavailable(), 16, "/v1/models/demo/classify", CLASSES),
    ("decoder", ImageCorrupt(), 8, "/v1/datasets/products/images", None),
    ("buckets", BucketUnavailable(), 4, IMPORTS, None),
]


@pytest.mark.parametrize(("part", "error", "least", "path", "data"), HANGING)
def test_what_hangs_holds_up_no_rollback(
    service: Service, part: str, error: PerennialError, least: int, path: str, data: Any
) -> None:
    a_root(service.platform)
    a_dataset(service, "products", boot=0, bag=3)
    hung = Hung(error)
    changed = replace(service.services, **{part: hung})
    service.client.app.state.services = changed  # type: ignore[attr-defined]
    files = None if path is IMPORTS else {"images" if data else "boot": ("1.png", picture(1))}
    answers = crowded(
        service, hung, least, lambda _: service.client.post(path, files=files, data=data)
    )
    code = "all_rejected" if part == "decoder" else error.code
    assert {code_of(answer)[1] for answer in answers} == {code}
