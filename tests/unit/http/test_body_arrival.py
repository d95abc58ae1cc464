"""The pace at which a body must arrive."""

import anyio
import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from api.http.limits import BodyArrival
from core.errors import RequestTimeout

PACE = 10**9  # bytes per second: whatever is sent is too slow


def test_a_body_that_falls_behind_the_pace_is_refused_and_told_the_pace() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()

    pieces = iter(range(100, -1, -1))  # ten times as many as are waited for

    async def receive() -> Message:
        await anyio.sleep(0.01)
        return {"type": "http.request", "body": b"a", "more_body": next(pieces) > 0}

    async def send(message: Message) -> None:
        raise AssertionError("nothing is sent")

    arrival = BodyArrival(app, seconds=0.1, bytes_per_second=PACE)
    with pytest.raises(RequestTimeout, match=f"send at least {PACE} bytes a second"):
        anyio.run(arrival, {"type": "http", "headers": []}, receive, send)
