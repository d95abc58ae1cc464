"""What the service writes about requests, and what it must not."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from core import logs
from core.settings import Settings
from tests.support.api.image_files import picture
from tests.support.api.service import KEY, Service

FILE, CLASS = "grandmother-at-the-beach.png", "very private class"


@pytest.fixture
def written(settings: Settings) -> Iterator[io.StringIO]:
    """What the service writes."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    chosen = settings.model_copy(update={"log_format": "json", "log_level": "debug"})
    logs.configure(chosen, process="api", stream=stream)
    yield stream
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(capture=False)


def test_neither_keys_nor_file_names_nor_bodies_are_written(
    written: io.StringIO, service: Service
) -> None:
    service.client.post("/v1/datasets", json={"name": "beach"})
    files = [(CLASS, (FILE, picture(1))), (CLASS, (FILE, b"not an image"))]
    service.client.post("/v1/datasets/beach/images", files=files)
    service.client.post("/v1/datasets", json={"name": CLASS, "unknown": FILE})
    service.client.post("/v1/datasets", content=b'{"name": "' + CLASS.encode())
    service.client.get(f"/v1/datasets/{CLASS}/images?after={KEY}")
    service.client.get("/v1/models", headers={"Authorization": f"Bearer {KEY}x"})
    for handler in logging.getLogger().handlers:
        handler.flush()
    found = [json.loads(line) for line in written.getvalue().splitlines()]
    lines = [line for line in found if not line["logger"].startswith("httpx")]  # the client's
    assert len(lines) >= 6
    for word in (FILE, CLASS, KEY, "not an image", "beach"):
        assert word not in json.dumps(lines)
