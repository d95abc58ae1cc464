"""JSON bodies of routes, which leave the event loop and memory to others, and small refusals."""

import asyncio
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import Field, field_validator
from starlette.requests import Request

from api.http import routing as declared_route
from api.http.error_handlers import register
from api.http.json_bodies import AT_ONCE, MAX_PARTS, parse_body, read_json
from api.http.problems import LONGEST, MOST_ERRORS
from api.http.routing import DeclaredRoute
from api.http.schemas import RequestModel
from core.errors import FieldInvalid
from tests.support.api.greedy_json import GREEDY, most_bytes
from tests.support.threads import Gate

LARGE = json.dumps({"text": "a" * AT_ONCE}).encode()


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


def test_the_event_loop_goes_on_while_a_large_body_is_parsed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        gate = Gate()

        def parse_slowly(body: bytes) -> Any:
            gate.pass_through()
            return parse_body(body)

        monkeypatch.setattr(declared_route, "parse_body", parse_slowly)
        answer, _ = await asyncio.gather(post(small_app(), LARGE), gate.open())
        assert answer.json() == AT_ONCE
        assert gate.was_opened

    asyncio.run(main())


def test_the_event_loop_goes_on_while_a_large_body_is_validated() -> None:
    async def main() -> None:
        gate = Gate()
        app = small_app(check=lambda _: gate.pass_through())
        answer, _ = await asyncio.gather(post(app, LARGE), gate.open())
        assert answer.json() == AT_ONCE
        assert gate.was_opened

    asyncio.run(main())


def test_the_event_loop_goes_on_while_a_large_body_is_read() -> None:
    async def main() -> None:
        gate = Gate()

        class Slow(RequestModel):
            text: str

            @field_validator("text")
            @classmethod
            def _checked(cls, value: str) -> str:
                gate.pass_through()
                return value

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": LARGE}

        request = Request({"type": "http", "headers": []}, receive)
        found, _ = await asyncio.gather(read_json(request, Slow), gate.open())
        assert len(found.text) == AT_ONCE
        assert gate.was_opened

    asyncio.run(main())


@pytest.mark.parametrize("body", GREEDY.values(), ids=GREEDY)
def test_a_refusal_takes_at_most_a_few_times_the_memory_of_the_body(body: bytes) -> None:
    app = small_app()
    assert posted({"text": "a"}, app).is_success  # what is loaded once
    tracemalloc.start()
    try:
        answer = asyncio.run(post(app, body))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer.status_code in {400, 422}
    assert peak < most_bytes(body)


@pytest.mark.parametrize("unknown", [MOST_ERRORS, MOST_ERRORS + 1, 5_000, MAX_PARTS - 10])
def test_the_first_errors_are_listed_and_the_others_counted(unknown: int) -> None:
    answer = posted({"text": "a"} | {f"field_{number}": 1 for number in range(unknown)})
    problem, omitted = answer.json(), unknown - MOST_ERRORS
    assert (answer.status_code, problem["code"]) == (422, "field_unknown")
    assert [line["pointer"] for line in problem["errors"]] == [
        f"/field_{number}" for number in range(MOST_ERRORS)
    ]
    if omitted:
        assert problem["facts"] == {"errors_omitted": omitted}
        assert problem["detail"].endswith(f"; and {omitted:,} more")
    else:
        assert "facts" not in problem


def test_a_name_that_was_sent_is_quoted_in_part() -> None:
    answer = posted({"text": "a", "b" * 100_000: 1})
    assert answer.json()["errors"][0]["pointer"] == "/" + "b" * (LONGEST - 2) + "…"
    assert len(answer.content) < 3 * LONGEST


def test_errors_and_their_facts_are_quoted_in_part() -> None:
    def refuse(text: str) -> None:
        raise FieldInvalid(f"No {text}", pointer=f"/{text}", model=text, count=len(text))

    answer = posted({"text": "a" * 5000}, small_app(take=refuse))
    problem = answer.json()
    assert problem["detail"] == problem["errors"][0]["detail"] == f"No {'a' * (LONGEST - 4)}…"
    assert len(problem["errors"][0]["pointer"]) == LONGEST
    assert problem["facts"] == {"model": "a" * (LONGEST - 1) + "…", "count": 5000}

    def fail(text: str) -> None:
        raise ValueError(text)  # which the framework tells of

    problem = posted({"text": "a" * 5000}, small_app(check=fail)).json()
    assert len(problem["errors"][0]["detail"]) == LONGEST
