"""The asynchronous client against a whole service."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse

from core.datasets.manifests import Side
from perennial.aio import connection as event_stream
from perennial.aio.client import AsyncClient
from perennial.errors import JobFailed, ServiceError
from perennial.requests import ImageFile
from tests.support.api.image_files import pictures_on
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.served import Served
from tests.support.api.service import KEY
from tests.support.servers.scripted import Script
from tests.unit.client.test_event_stream import stream

IMAGES = [
    (("boot", "bag")[n % 2], ImageFile(file_name=f"{n}.png", data=data))
    for n, data in enumerate(pictures_on(Side.TRAIN, 6))
]


def run(url: str, walk: Callable[[AsyncClient], Awaitable[Any]]) -> Any:
    """Return what a walk with a client returns."""

    async def walked() -> Any:
        async with AsyncClient(url, KEY, trust_env=False) as client:
            return await walk(client)

    return asyncio.run(walked())


def test_datasets_are_sent_frozen_and_listed(served: Served, tmp_path: Path) -> None:
    (tmp_path / "in" / "boot").mkdir(parents=True)
    (tmp_path / "in" / "boot" / "1.png").write_bytes(IMAGES[0][1].data)

    async def walk(client: AsyncClient) -> None:
        await client.datasets.create("products")
        sent: list[int] = []
        receipts = await client.datasets.upload("products", IMAGES, on_batch=sent.append)
        assert ([one["outcome"] for one in receipts], sent) == (["created"] * 6, [6])
        assert (await client.datasets.freeze("products"))["images"] == 6
        await client.datasets.rename_class("products", "bag", "sack")
        await client.datasets.freeze("products")
        diff = await client.datasets.diff("products", 2, against=1)
        assert (diff["moved"], len(diff["data"])) == (3, 3)
        listed = [image async for image in client.datasets.images("products", of_class="boot")]
        assert len(listed) == 3
        stored = await client.datasets.read_image("products", listed[0]["pixels"])
        assert stored[:4] == b"RIFF"
        direct = await client.datasets.import_images("products", tmp_path / "in")
        arrived: list[tuple[int, int]] = []
        upload = await client.uploads.send(
            tmp_path / "in", on_bytes=lambda *bytes_: arrived.append(bytes_)
        )
        later = await client.datasets.import_upload("products", upload)
        assert direct["images"] is not None
        assert later["images"] is not None
        assert direct["images"]["bytes"] == later["images"]["bytes"] == arrived[-1][1]
        assert direct["images"]["archive"] == later["images"]["archive"]

    run(served.url, walk)


def test_many_calls_run_at_a_time_and_errors_are_raised(served: Served) -> None:
    root = a_root(served.platform, f"m-{uuid.uuid4().hex}")

    async def walk(client: AsyncClient) -> None:
        calls = (client.models.get(root.name) for _ in range(20))
        assert {found["name"] for found in await asyncio.gather(*calls)} == {root.name}
        assert await client.is_ready() is False  # no worker
        assert (await client.principal())["name"] == "admin"
        with pytest.raises(ServiceError, match="404 model_not_found"):
            await client.models.get("nobody")
        with pytest.raises(ServiceError, match="404"):
            async for _ in client.versions.list("nobody"):
                pass

    run(served.url, walk)


def test_jobs_are_ordered_watched_and_waited_for(served: Served, tmp_path: Path) -> None:
    root = a_root(served.platform, f"m-{uuid.uuid4().hex}")
    a_candidate(served.platform, root)

    async def walk(client: AsyncClient) -> None:
        job = await client.jobs.order_evaluation(model=root.name, version=2)
        watching = asyncio.ensure_future(_kinds(client, job["id"]))
        await client.jobs.cancel(job["id"])
        with pytest.raises(JobFailed, match="was cancelled"):
            await client.jobs.wait(job["id"], every=0.01)
        assert await watching == ["queued", "cancelled"]
        done: list[tuple[int, int]] = []
        tar = await client.versions.download(
            root.name, 2, to=tmp_path / "v.tar", on_bytes=lambda *bytes_: done.append(bytes_)
        )
        assert tar.stat().st_size == done[-1][0]

    run(served.url, walk)


async def _kinds(client: AsyncClient, job: str) -> list[str]:
    return [event["kind"] async for event in client.jobs.watch(job)]


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
        return await _kinds(client, "job_2")

    assert run(script.url, walk) == ["queued", "done"]
    assert script.headers[0]["idempotency-key"] == script.headers[1]["idempotency-key"]
    assert script.headers[3]["last-event-id"] == "1"
