"""A stand-in for the inference process, whose answers are known."""

import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.inference.wire import TEXTS_UNKNOWN, Embedded, read_request, write_embedded
from core.settings import Settings
from tests.support.api.service import settings_of
from tests.support.servers.answering import in_thread

WIDTH = 2  # of the vectors

IMAGE_BYTES = 3 * 224 * 224  # of the models that tests make without an architecture


def vector_of(data: bytes) -> bytes:
    """The unit vector that an oracle gives an image's pixels or a text, as float32."""
    angle = zlib.crc32(data)
    return struct.pack("<2f", math.cos(angle), math.sin(angle))


class Oracle:
    """An inference process that knows nothing: it answers with the first classes."""

    def __init__(self) -> None:
        self.url = ""
        self.forget()

    def forget(self) -> None:
        self.asked: dict[str, Any] = {}
        self.requests: list[int] = []  # how many images each had
        self.known: dict[str, Any] = {}  # texts that it was sent, by their digest
        self.templates: list[int] = []  # how many prompts stand for a class, of each of these
        self.answer: Response | None = None
        self.cosines = [0.5, 0.25]  # of each image
        self.turned: dict[str, int] = {}  # at which class the answers of a version start
        self.broken: set[str] = set()  # versions that cannot be asked
        self.unable: set[str] = set()  # versions in whose precision it cannot compute
        self.vectors = lambda digest, data: vector_of(data)  # of a version, as bytes

    async def classify(self, request: Request) -> Response:
        head, pixels = read_request(await request.body())
        self.request_id = request.headers.get("x-request-id")
        self.key = request.headers.get("authorization")
        if "prompts" not in head and head["texts"] not in self.known:
            return JSONResponse({"code": TEXTS_UNKNOWN, "message": ""}, 409)
        if head["texts"] not in self.known:
            self.known[head["texts"]] = head["prompts"]
            self.templates.append(head["templates"])
        self.asked = {**head, "prompts": self.known[head["texts"]], "pixels": bytes(pixels)}
        self.requests.append(len(pixels) // IMAGE_BYTES)
        if self.answer is not None:
            return self.answer
        if head["digest"] in self.broken:
            return JSONResponse({"code": "not_servable", "message": "It is broken."}, 404)
        count = len(self.known[head["texts"]])
        start = self.turned.get(head["digest"], 0)
        row = [((start + place) % count, 0.5) for place in range(head["top_k"])]
        predictions = [row] * self.requests[-1]
        found = {"digest": head["digest"], "predictions": predictions}
        return JSONResponse(found | {"cosines": [self.cosines] * self.requests[-1]})

    async def embed(self, request: Request) -> Response:
        head, pixels = read_request(await request.body())
        self.asked = head
        firsts = range(0, len(pixels), IMAGE_BYTES)
        images = [bytes(pixels[first : first + IMAGE_BYTES]) for first in firsts]
        texts = [text.encode() for text in head.get("texts", ())]
        self.requests.append(len(images) + len(texts))
        if head["digest"] in self.unable:
            told = {"code": "engine_unavailable", "message": "It takes instructions for bf16."}
            return JSONResponse(told, 503)
        given = partial(self.vectors, head["digest"])
        found = [Embedded(given(pixels), tokens=0) for pixels in images]
        found += [Embedded(given(text), tokens=len(text.split())) for text in texts]
        return self.answer or Response(write_embedded(found))


def settings_with(oracle: Oracle, home: Path) -> Settings:
    """Settings that lead to a stand-in, which forgets what it was asked before."""
    oracle.forget()
    return settings_of(
        home, inference_url=oracle.url, inference_key=SecretStr("pk_that-inference-knows")
    )


@contextmanager
def an_oracle() -> Iterator[Oracle]:
    made = Oracle()
    routes = [
        Route("/classify", made.classify, methods=["POST"]),
        Route("/embed", made.embed, methods=["POST"]),
    ]
    app = Starlette(routes=routes)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    with in_thread(server) as made.url:
        yield made
