"""The asynchronous client, the one that is written from it, and what both need."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse

from perennial import AsyncClient
from perennial.aio import connection as event_stream
from perennial.errors import ServiceError
from tests.support.api.image_files import picture
from tests.support.api.seeds import a_root
from tests.support.api.served import Served
from tests.support.api.service import KEY
from tests.support.servers.scripted import Script
from tests.unit.client.test_requests import stream


def run(url: str, walk: Callable[[AsyncClient], Awaitable[Any]]) -> Any:
    """Return what a walk with a client returns."""

    async def walked() -> Any:
        async with AsyncClient(url, KEY, trust_env=False) as client:
            return await walk(client)

    return asyncio.run(walked())


def test_files_are_sent_and_fetched(served: Served, tmp_path: Path) -> None:
    root = a_root(served.platform)
    image = tmp_path / "in" / "boot" / "1.png"
    image.parent.mkdir(parents=True)
    image.write_bytes(picture(1))

    async def walk(client: AsyncClient) -> None:
        await client.datasets.create("products")
        (receipt,) = await client.datasets.upload("products", [("boot", image)])
        assert receipt["outcome"] == "created"
        direct = await client.datasets.import_images("products", tmp_path / "in")
        upload = await client.uploads.send(tmp_path / "in")
        later = await client.datasets.import_upload("products", upload)
        assert direct["images"] is not None
        assert later["images"] is not None
        assert direct["images"]["archive"] == later["images"]["archive"]
        arrived: list[int] = []
        tar = await client.versions.download(
            root.name, 1, to=tmp_path / "v.tar", on_bytes=lambda there, _: arrived.append(there)
        )
        assert tar.stat().st_size == arrived[-1]
        with pytest.raises(ServiceError, match="404"):
            async for _ in client.versions.list("nobody"):
                pass

    run(served.url, walk)


def test_requests_and_streams_go_on_as_those_of_the_other_client(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(event_stream, "PAUSE_S", 0.0)
    busy = JSONResponse({"code": "busy"}, 503, headers={"Retry-After": "0"})
    script.replies = [
        busy,
        JSONResponse({"id": "job_2"}),
        stream("queued"),
        stream("done", first=2),
    ]

    async def walk(client: AsyncClient) -> list[str]:
        await client.jobs.retry("job_1")
        return [event["kind"] async for event in client.jobs.watch("job_2")]

    assert run(script.url, walk) == ["queued", "done"]
    assert script.headers[0]["idempotency-key"] == script.headers[1]["idempotency-key"]
    assert script.headers[3]["last-event-id"] == "1"
