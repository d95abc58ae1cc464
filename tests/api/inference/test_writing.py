"""Tests that small answers are written on the event loop, and large ones in a thread."""

from collections.abc import Callable
from threading import Thread, current_thread
from types import ModuleType
from typing import Any

import httpx
import pytest

from api.http import routing as writing
from api.inference import classify, embed, embeddings
from core.registry.versions import Model
from tests.support.api.image_files import image_part
from tests.support.api.service import Service

Ask = Callable[[Service], httpx.Response]


def _classify(service: Service) -> httpx.Response:
    files = [image_part(1), image_part(2)]
    data = {"classes": '["cat", "dog"]'}
    return service.client.post("/v1/models/demo/classify", files=files, data=data)


def _embed(service: Service) -> httpx.Response:
    return service.client.post("/v1/models/demo/embed", json={"texts": ["a cat", "a dog"]})


def _embeddings(service: Service) -> httpx.Response:
    body = {"model": "demo", "input": ["a cat", "a dog"]}
    return service.client.post("/v1/embeddings", json=body)


@pytest.mark.parametrize(
    ("module", "show", "ask"),
    [
        (classify, "_show", _classify),
        (embed, "_show", _embed),
        (embeddings, "_show", _embeddings),
    ],
)
def test_a_large_answer_alone_is_written_in_a_thread(
    service: Service,
    model: Model,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    show: str,
    ask: Ask,
) -> None:
    threads: list[Thread] = []
    original = getattr(module, show)

    def noted(*args: Any) -> Any:
        threads.append(current_thread())
        return original(*args)

    monkeypatch.setattr(module, show, noted)
    for most in (10**6, 3):
        monkeypatch.setattr(writing, "VALUES_AT_ONCE", most)
        assert ask(service).status_code == 200
    assert [thread.name.startswith("AnyIO worker") for thread in threads] == [False, True]
