"""What the service writes about requests, and what it must not."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from core import logs
from core.settings import Settings
from tests.support.api.image_files import picture
from tests.support.api.service import KEY, Service

FILE, CLASS = "grandmother-at-the-beach.png", "very private class"


@pytest.fixture
def lines(settings: Settings) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """The lines that the service has written since."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    chosen = settings.model_copy(update={"log_format": "json", "log_level": "debug"})
    logs.configure(chosen, process="api", stream=stream)

    def said() -> list[dict[str, Any]]:
        for handler in root.handlers:
            handler.flush()
        found = [json.loads(line) for line in stream.getvalue().splitlines()]
        return [line for line in found if not line["logger"].startswith("httpx")]  # the client's

    yield said
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(capture=False)


def test_neither_keys_nor_file_names_nor_bodies_are_written(
    lines: Callable[[], list[dict[str, Any]]], service: Service
) -> None:
    service.client.post("/v1/datasets", json={"name": "beach"})
    files = [(CLASS, (FILE, picture(1))), (CLASS, (FILE, b"not an image"))]
    service.client.post("/v1/datasets/beach/images", files=files)
    service.client.post("/v1/datasets", json={"name": CLASS, "unknown": FILE})
    service.client.post("/v1/datasets", content=b'{"name": "' + CLASS.encode())
    service.client.get(f"/v1/datasets/{CLASS}/images?after={KEY}")
    service.client.get("/v1/models", headers={"Authorization": f"Bearer {KEY}x"})
    text = json.dumps(lines())
    assert len(lines()) >= 6
    assert not [word for word in (FILE, CLASS, KEY, "not an image", "beach") if word in text]
