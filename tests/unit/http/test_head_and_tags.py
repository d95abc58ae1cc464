"""The messages of an application after HEAD and entity tags have changed them."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.middleware import EntityTags, HeadRequests


def start(status: int, media_type: str) -> Message:
    headers = [(b"content-type", media_type.encode()), (b"content-length", b"2")]
    return {"type": "http.response.start", "status": status, "headers": headers}


def sent(app: ASGIApp, method: str) -> list[Message]:
    """The messages that an application sends."""
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    routes = SimpleNamespace(router=SimpleNamespace(routes=[]))
    scope = {"type": "http", "method": method, "headers": [], "app": routes}
    anyio.run(app, scope, receive, send)
    return messages


def test_a_get_that_serves_head_ends_once_its_headers_are_known() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["method"])
        await send(start(200, "application/x-tar"))
        await anyio.sleep(0)
        seen.append("read a large file")
        await send({"type": "http.response.body", "body": b"ab"})

    messages = sent(HeadRequests(app), "HEAD")
    assert seen == ["GET"]
    assert messages == [start(200, "application/x-tar"), {"type": "http.response.body"}]
    assert sent(HeadRequests(app), "GET")[-1]["body"] == b"ab"


@pytest.mark.parametrize(
    ("method", "status", "media_type", "pieces", "tagged"),
    [
        ("GET", 200, "application/json", [b"{}"], True),
        ("GET", 200, "text/html; charset=utf-8", [b"<>"], True),
        ("GET", 503, "application/json", [b"{}"], False),
        ("GET", 200, "text/plain", [b"ab"], False),
        ("GET", 200, "application/json", [b"{", b"}"], False),
        ("POST", 200, "application/json", [b"{}"], False),
    ],
)
def test_whole_documents_are_tagged(
    method: str, status: int, media_type: str, pieces: Sequence[bytes], tagged: bool
) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(start(status, media_type))
        for index, piece in enumerate(pieces):
            more = index + 1 < len(pieces)
            await send({"type": "http.response.body", "body": piece, "more_body": more})

    head, *bodies = sent(EntityTags(app), method)
    headers: dict[bytes, Any] = dict(head["headers"])
    assert (b"etag" in headers) is tagged
    assert [body["body"] for body in bodies] == list(pieces)
