"""JSON bodies that a route reads itself are read as those that the framework reads."""

import asyncio
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import field_validator
from starlette.requests import Request

from api.http.json_bodies import AT_ONCE, read_json
from api.http.schemas import RequestModel
from core.errors import FieldInvalid, Malformed
from tests.support.threads import Gate


class Sent(RequestModel):
    """A body."""

    text: str


def a_request(body: bytes) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    return Request({"type": "http", "headers": []}, receive)


def test_the_event_loop_goes_on_while_a_large_body_is_read() -> None:
    async def main() -> None:
        gate = Gate()

        class Slow(Sent):
            @field_validator("text")
            @classmethod
            def _checked(cls, value: str) -> str:
                gate.pass_through()
                return value

        request = a_request(b'{"text": "%s"}' % (b"a" * AT_ONCE))
        found, _ = await asyncio.gather(read_json(request, Slow), gate.open())
        assert len(found.text) == AT_ONCE
        assert gate.was_opened

    asyncio.run(main())


@pytest.mark.parametrize("padding", [0, AT_ONCE], ids=["small", "large"])
def test_a_body_is_refused_as_the_framework_refuses_one(padding: int) -> None:
    def read(body: bytes) -> Sent:
        return asyncio.run(read_json(a_request(body + b" " * padding), Sent))

    assert read(b'{"text": "a"}').text == "a"
    with pytest.raises(Malformed):
        read(b"{")
    with pytest.raises(FieldInvalid) as refused:
        read(rb'{"text": "\u0000"}')
    assert refused.value.pointer == "/text"
    with pytest.raises(RequestValidationError) as invalid:
        read(b'{"text": 1}')
    assert [line["loc"] for line in invalid.value.errors()] == [("body", "text")]
