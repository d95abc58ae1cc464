"""Whoever waits for the inference process, a decoder or a bucket keeps nobody else waiting."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from core.errors import BucketUnavailable, ImageCorrupt, InferenceUnavailable
from tests.support.api.image_files import picture
from tests.support.api.orders import a_dataset
from tests.support.api.seeds import a_root
from tests.support.api.service import EMBEDDED, Service, code_of

CROWD = 45  # requests: more than there are threads

FILE = {"boot": ("1.png", picture(1))}


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
        deadline = time.monotonic() + 30
        while len(hung.asked) < least:
            assert time.monotonic() < deadline
            time.sleep(0.02)
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


def test_a_hung_inference_process_holds_up_no_rollback(service: Service) -> None:
    a_root(service.platform)
    hung = Hung(InferenceUnavailable())
    change(service, inference=hung)
    path, files, data = "/v1/models/demo/classify", {"images": FILE["boot"]}, {"classes": '["a"]'}
    answers = crowded(
        service, hung, 16, lambda _: service.client.post(path, files=files, data=data)
    )
    assert {code_of(answer) for answer in answers} == {(503, "inference_unavailable")}


def test_slow_decoders_hold_up_no_rollback(service: Service) -> None:
    a_root(service.platform)
    a_dataset(service, "products", boot=0, bag=3)
    hung = Hung(ImageCorrupt())
    change(service, decoder=hung)
    path = "/v1/datasets/products/images"
    answers = crowded(service, hung, 8, lambda _: service.client.post(path, files=FILE))
    assert {code_of(answer) for answer in answers} == {(422, "all_rejected")}


@EMBEDDED
def test_a_slow_bucket_holds_up_no_rollback(service: Service) -> None:
    a_root(service.platform)
    a_dataset(service, "products", boot=0, bag=3)
    hung = Hung(BucketUnavailable())
    change(service, buckets=hung)
    path = "/v1/datasets/products/imports?s3=s3://photos"
    answers = crowded(service, hung, 4, lambda _: service.client.post(path))
    assert {code_of(answer) for answer in answers} == {(503, "bucket_unavailable")}


def change(service: Service, **parts: Any) -> None:
    """Put other parts into a running service."""
    service.client.app.state.services = replace(service.services, **parts)  # type: ignore[attr-defined]
