"""Tests that small answers are written on the event loop, and large ones in a thread."""

from threading import Thread, current_thread
from typing import Any

import pytest

from api.http import routing as writing
from api.inference import classify, embed, embeddings
from tests.support.api.image_files import image_part
from tests.support.api.service import Service

IMAGES = [image_part(1), image_part(2)]

CALLS = [
    (classify, "models/demo/classify", {"files": IMAGES, "data": {"classes": '["cat", "dog"]'}}),
    (embed, "models/demo/embed", {"json": {"texts": ["a cat", "a dog"]}}),
    (embeddings, "embeddings", {"json": {"model": "demo", "input": ["a cat", "a dog"]}}),
]


@pytest.mark.usefixtures("model")
def test_a_large_answer_alone_is_written_in_a_thread(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, path, sent in CALLS:
        threads: list[Thread] = []
        show = module._show

        def noted(*args: Any, threads: list[Thread] = threads, show: Any = show) -> Any:
            threads.append(current_thread())
            return show(*args)

        monkeypatch.setattr(module, "_show", noted)
        for most in (10**6, 3):
            monkeypatch.setattr(writing, "VALUES_AT_ONCE", most)
            assert service.client.post(f"/v1/{path}", **sent).status_code == 200
        assert [one.name.startswith("AnyIO worker") for one in threads] == [False, True], path
