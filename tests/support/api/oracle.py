"""A stand-in for the inference process, whose answers are known."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.settings import Settings
from tests.support.api.service import settings_of
from tests.support.server_thread import in_thread


class Oracle:
    """An inference process that knows nothing: it answers with the classes in their order."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}
        self.requests: list[int] = []  # how many images each had
        self.answer: Response | None = None
        app = Starlette(routes=[Route("/classify", self.classify, methods=["POST"])])
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="error"))

    async def classify(self, request: Request) -> Response:
        async with request.form() as form:
            images = [await one.read() for one in form.getlist("images")]  # type: ignore[union-attr]
            names = ("digest", "classes", "prompts", "top_k")
            self.asked = {name: form[name] for name in names} | {"images": images}
        self.requests.append(len(images))
        self.request_id = request.headers.get("x-request-id")
        self.key = request.headers.get("authorization")
        if self.answer is not None:
            return self.answer
        best = json.loads(self.asked["classes"])[: int(self.asked["top_k"])]
        rows = [[{"class": name, "probability": 0.5} for name in best] for _ in images]
        return JSONResponse({"digest": self.asked["digest"], "predictions": rows})


def settings_with(oracle: Oracle, home: Path) -> Settings:
    """Settings that lead to a stand-in, which forgets what it was asked before."""
    oracle.answer = None
    oracle.requests = []
    return settings_of(
        home, inference_url=oracle.url, inference_key=SecretStr("pk_that-inference-knows")
    )


@contextmanager
def an_oracle() -> Iterator[Oracle]:
    """A running one."""
    made = Oracle()
    with made.socket, in_thread(made.server, made.socket):
        yield made
