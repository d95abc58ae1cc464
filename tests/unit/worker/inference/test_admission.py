"""What the inference port answers to whoever should not be there, or asks for too much."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.bootstrap import build
from core.errors import UnsafeConfiguration
from core.inference.wire import MAX_IMAGES, MAX_TEXTS, write_request
from core.platform import Platform
from core.recipes.rules import digest_of
from core.settings import Settings
from tests.support.pictures import encode, picture
from tests.unit.worker.inference.conftest import KEY, SHOWN, store
from worker.inference.app import AdmissionControl
from worker.inference.server import make_app

PIXELS = bytes(range(256)) * 3  # an image of 16 x 16 pixels, the input of `tiny_clip`


@pytest.fixture
def client(platform: Platform) -> Iterator[TestClient]:
    """A client that shows no key of its own accord."""
    with TestClient(make_app(platform)) as client:
        yield client


@pytest.fixture
def question(platform: Platform) -> dict[str, Any]:
    """The head of a question that a version in the store can answer."""
    texts = digest_of(["an a"])
    return {"digest": store(platform, 1), "texts": texts, "prompts": ["an a"], "top_k": 1}


def ask(client: TestClient, question: dict[str, Any], pixels: bytes) -> tuple[int, str]:
    body = write_request(question, [pixels])
    answer = client.post("/classify", content=body, headers=SHOWN)
    return answer.status_code, answer.json().get("code", "")


# ---- Who may ask --------------------------------------------------------------------------------


def test_without_the_key_nothing_is_answered(client: TestClient) -> None:
    paths = (("POST", "/classify"), ("POST", "/embed"), ("GET", "/loaded"), ("GET", "/nowhere"))
    for headers in ({}, {"Authorization": "Bearer pk_another-one-of-that-length"}):
        for method, path in paths:
            answer = client.request(method, path, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorised"), path
    assert client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize("key", ["", "short"])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_without_a_key_that_nobody_guesses_it_does_not_start(
    tmp_path: Path, key: str, host: str
) -> None:
    settings = Settings(home=tmp_path, inference_key=SecretStr(key), inference_host=host)
    with pytest.raises(UnsafeConfiguration, match="PERENNIAL_INFERENCE_KEY"):
        make_app(build(settings))


# ---- What it reads ------------------------------------------------------------------------------


def test_pixels_are_those_of_whole_images_and_not_too_many(
    client: TestClient, question: dict[str, Any]
) -> None:
    for pixels in (PIXELS, PIXELS * MAX_IMAGES):
        assert ask(client, question, pixels) == (200, "")
    for pixels in (b"", PIXELS[:-1], PIXELS + b"x", PIXELS * (MAX_IMAGES + 1)):
        assert ask(client, question, pixels) == (422, "field_invalid"), len(pixels)


def test_no_byte_is_given_to_an_image_decoder(
    client: TestClient, question: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "open", None)
    png = encode(picture(), "PNG")
    assert ask(client, question, png[: len(PIXELS)].ljust(len(PIXELS))) == (200, "")


def test_more_texts_than_the_api_sends_are_refused(
    client: TestClient, question: dict[str, Any]
) -> None:
    many = ["a"] * (MAX_TEXTS + 1)
    assert ask(client, {**question, "prompts": many}, PIXELS) == (422, "field_invalid")
    body = write_request({"digest": question["digest"], "texts": many})
    answer = client.post("/embed", content=body, headers=SHOWN)
    assert (answer.status_code, answer.json()["code"]) == (422, "field_invalid")


# ---- How much it takes --------------------------------------------------------------------------


def guarded(**changes: int) -> tuple[AdmissionControl, asyncio.Event, list[int]]:
    """A guarded app that reads a body and answers once the event is set; what it has read."""
    go_on, read = asyncio.Event(), []

    async def answer(request: Request) -> Response:
        read.append(len(await request.body()))
        await go_on.wait()
        return Response("done")

    app = Starlette(routes=[Route("/", answer, methods=["POST"])])
    limits = {"max_body_bytes": 100, "max_requests": 2, "max_bytes": 150, **changes}
    return AdmissionControl(app, key=KEY, **limits), go_on, read


async def crowd(
    guard: AdmissionControl, go_on: asyncio.Event, read: list[int], *sizes: int
) -> list[httpx.Response]:
    """The answers to bodies of these sizes, each sent while the ones before are in flight."""
    transport = httpx.ASGITransport(guard)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://here", headers=SHOWN
    ) as client:
        tasks = []
        for size in sizes:
            before = len(read)
            tasks.append(asyncio.create_task(client.post("/", content=b"x" * size)))
            while len(read) == before and not tasks[-1].done():
                await asyncio.sleep(0)
        go_on.set()
        return await asyncio.gather(*tasks)


def test_more_requests_than_it_takes_are_told_to_come_again() -> None:
    async def story() -> None:
        guard, go_on, read = guarded()
        *taken, refused = await crowd(guard, go_on, read, 1, 1, 1)
        assert [answer.status_code for answer in taken] == [200, 200]
        assert (refused.status_code, refused.json()["code"]) == (503, "inference_busy")
        assert int(refused.headers["retry-after"]) > 0
        assert len(read) == 2  # nothing was read of the third
        assert [answer.status_code for answer in await crowd(guard, go_on, read, 1)] == [200]
        answers = await crowd(*guarded(), 100, 51, 50)  # more bytes than it takes
        assert [answer.status_code for answer in answers] == [200, 503, 200]

    asyncio.run(story())


def test_a_body_beyond_the_cap_or_of_unknown_length_is_not_read() -> None:
    async def story() -> None:
        guard, go_on, read = guarded()
        (refused,) = await crowd(guard, go_on, read, 101)
        assert (refused.status_code, refused.json()["code"]) == (413, "body_too_large")

        async def unending():  # type: ignore[no-untyped-def]
            yield b"x"

        transport = httpx.ASGITransport(guard)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            answer = await client.post("/", content=unending(), headers=SHOWN)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
        assert read == []

    asyncio.run(story())
