"""An application with one declared route, which takes JSON."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
from fastapi import APIRouter, FastAPI
from pydantic import Field, field_validator

from api.http.error_handlers import register
from api.http.routing import DeclaredRoute
from api.http.schemas import RequestModel


def nothing(_: str) -> None:
    """Do nothing with a text."""


def small_app(
    *, check: Callable[[str], None] = nothing, take: Callable[[str], None] = nothing
) -> FastAPI:
    """Return an app that answers a text with its length.

    `check` is called as the text is validated, `take` as its length is taken.
    """

    class Sent(RequestModel):
        text: str
        more: list[str] = Field(default_factory=list)

        @field_validator("text")
        @classmethod
        def _checked(cls, value: str) -> str:
            check(value)
            return value

    router = APIRouter(route_class=DeclaredRoute)

    @router.post("/")
    async def length_of(sent: Sent) -> int:
        take(sent.text)
        return len(sent.text)

    app = FastAPI()
    app.include_router(router)
    register(app)
    return app


async def post(app: FastAPI, body: bytes) -> httpx.Response:
    """Send a JSON body to a small app."""
    headers = {"Content-Type": "application/json"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        return await client.post("/", content=body, headers=headers)


def posted(value: Any, app: FastAPI | None = None) -> httpx.Response:
    """Send a value to a small app, on an event loop of its own."""
    return asyncio.run(post(app or small_app(), json.dumps(value).encode()))
