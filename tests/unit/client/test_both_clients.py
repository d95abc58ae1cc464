"""The asynchronous client, the one that is written from it, and what both need."""

import asyncio
import subprocess
import sys
import tomllib
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import distribution
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
from tests.support.deployment.requirements import installed_for
from tests.support.places import ROOT
from tests.support.servers.scripted import Script
from tests.unit.client.test_requests import stream

CLIENT = ROOT / "client"
NEEDED = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]["dependencies"]
COMMAND = ("__main__", "commands", "terminal")
IMPORT_ALL = """
import importlib, pkgutil, sys
sys.path[:0] = sys.argv[1:3]
import perennial
for module in pkgutil.walk_packages(perennial.__path__, "perennial."):
    if module.name.split(".")[1] not in sys.argv[3:]:
        importlib.import_module(module.name)
with perennial.Client("http://127.0.0.1:1", "pk_any", trust_env=False) as client:
    assert not client.is_ready()
if "commands" not in sys.argv[3:]:
    perennial.commands.main.main(["teach", "--help"])
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize(
    ("needed", "left_out", "loaded"),
    [(NEEDED[:1], COMMAND, {"httpx"}), (NEEDED, (), {"httpx", "click", "rich"})],
    ids=["library", "command"],
)
def test_the_client_runs_with_what_it_names_alone(
    tmp_path: Path, needed: Sequence[str], left_out: Sequence[str], loaded: set[str]
) -> None:
    info = tmp_path / "perennial_client-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: perennial-client\nVersion: 0\n")
    for name in installed_for(needed):
        for file in distribution(name).files or ():
            top = file.parts[0]
            if not (tmp_path / top).exists() and top != "..":
                (tmp_path / top).symlink_to(Path(str(distribution(name).locate_file(top))))
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", IMPORT_ALL, str(CLIENT), str(tmp_path), *left_out],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    help_text, _, names = run.stdout.rstrip().rpartition("\n")
    assert help_text.startswith("Usage: perennial teach") is not bool(left_out)
    found = set(names.split())
    assert {"perennial", *loaded} == found & {"perennial", "httpx", "click", "rich"}
    assert not {"api", "cli", "core", "worker", "torch"} & found


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
