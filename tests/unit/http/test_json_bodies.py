"""JSON of clients: its bounds, what is refused, and a large one that keeps nobody waiting."""

import asyncio
import json
import threading
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
from api.http.json_bodies import (
    AT_ONCE,
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_PARTS,
    MAX_VALUES,
    parse,
    parse_body,
    read_json,
    require_storable,
)
from api.http.problems import LONGEST, MOST_ERRORS
from api.http.routing import DeclaredRoute
from api.http.schemas import RequestModel
from core.errors import FieldInvalid

WAIT_S = 30.0  # longer than anything here takes


class Gate:
    """A place in a thread that only a coroutine of the event loop opens."""

    def __init__(self) -> None:
        self.was_opened = False
        self._loop = asyncio.get_running_loop()
        self._reached = asyncio.Event()
        self._open = threading.Event()
        self._loop_thread = threading.current_thread()

    def pass_through(self) -> None:
        """Wait until the gate is opened; on the event loop itself it cannot be, so go on."""
        self._loop.call_soon_threadsafe(self._reached.set)
        if threading.current_thread() is not self._loop_thread:
            self.was_opened = self._open.wait(WAIT_S)

    async def open(self) -> None:
        """Open the gate once a thread waits at it."""
        await self._reached.wait()
        self._open.set()


MIB = 2**20

GREEDY = {
    "a long name": b'{"a":"b","' + b"k" * 100_000 + b'":[' + b"1," * 20_000 + b"1]}",
    "a long name and a bad text": (
        b'{"a":"b","' + b"k" * 100_000 + b'":[' + b"1," * 20_000 + b'"\\u0000"]}'
    ),
    "deep": b'{"x":' + b"[" * 900 + b"1," * 400_000 + b"1" + b"]" * 900 + b"}",
    "empty objects": b"[" + b"{}," * 700_000 + b"{}]",
    "fields": b"{" + b",".join(b'"%06x":1' % one for one in range(200_000)) + b"}",
    "objects that are taken": (
        b"[" + b",".join(b'{"%05x":1.5}' % one for one in range(MAX_PARTS // 2 - 1)) + b"]"
    ),
    "strings that are taken": b"[" + '"😀",'.encode() * (MAX_VALUES - 1) + b'"a"]',
    "one wide letter": b'["' + b"a" * MIB + "😀".encode() + b'"]',
    "strings of marks": b'["' + b'[{,:","' * 200_000 + b'"]',
    "escapes": b'["' + b'\\\\\\"[' * 300_000 + b'"]',
    "no commas": b'""11' * MIB,
}


def most_bytes(body: bytes) -> int:
    """The most that reading a body may take: its text twice, and what so many values take.

    The text is decoded, and its characters are in strings again, both with up to four bytes each.
    A value is at most a short string (80 bytes) and its place in a list; a part is at most an
    object, or a name in one.
    """
    return 2 * 4 * len(body) + 100 * MAX_VALUES + 200 * MAX_PARTS


def refusal(text: str | bytes, pointer: str = "") -> FieldInvalid:
    with pytest.raises(FieldInvalid) as raised:
        parse(text, pointer=pointer)
    return raised.value


@pytest.mark.parametrize("odd", ["\\u0000", "\\ud83d", "\\uDE00 a", "\ud800"])
def test_a_text_that_cannot_be_stored_is_pointed_to_however_deep_it_is(odd: str) -> None:
    text = '{"fine": "é", "a/b": [1, {"c~d": [null, "😀", "' + odd + '"]}]}'
    assert refusal(text).pointer == "/a~1b/1/c~0d/2"
    assert refusal(text.encode(errors="surrogatepass"), "/recipe").pointer == (
        "/recipe/a~1b/1/c~0d/2"
    )


def test_a_name_that_cannot_be_stored_is_pointed_to_by_its_object() -> None:
    assert refusal(r'{"a": [0, {"b": 1, "c\u0000": 2}]}').pointer == "/a/1"
    with pytest.raises(FieldInvalid) as raised:
        require_storable({"a": "b\0"})
    assert raised.value.pointer == "/a"


def test_what_only_looks_like_a_bad_text_is_taken() -> None:
    for value in (["\\u0000"], {"\\ud800": "😀"}, ["\ufeff\u2028"]):
        for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
            assert parse(text) == parse(text.encode()) == value


@pytest.mark.parametrize(
    "value",
    [
        {"recipe": {"vocabulary": "file", "vocabulary_texts": ["a, [b]: {c}"] * 100_000}},
        {"labels": [{"prediction": "pred_0", "label": "a"}] * 1000},
        {"input": ["a" * 2000] * 2048},
        ["a, \\ \"[{:,]}\" \n"] * 10_000,
        [[]] * (MAX_PARTS - 1),
        {str(number): number for number in range(MAX_PARTS - 1)},
        ["[{:,"] * MAX_VALUES,
        10**MAX_DIGITS - 1,
    ],
    ids=["recipe", "labels", "texts", "classes", "lists", "fields", "values", "digits"],
)  # fmt: skip
def test_what_the_api_takes_is_within_the_bounds(value: Any) -> None:
    assert parse(json.dumps(value)) == value
    assert parse(json.dumps(value, separators=(",", ":")).encode()) == value


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        (json.dumps([1] * (MAX_VALUES + 1)), f"{MAX_VALUES:,} values"),
        (json.dumps({"a": ["b"] * MAX_VALUES}), f"{MAX_VALUES:,} values"),
        (json.dumps([[]] * MAX_PARTS), "fields, objects and lists"),
        (json.dumps([{"a": 1}] * (MAX_PARTS // 2)), "fields, objects and lists"),
        (json.dumps(dict.fromkeys(map(str, range(MAX_PARTS)))), "fields, objects and lists"),
        (json.dumps({"a": "\\"})[:-1] + ',"b":[' + "{}," * MAX_PARTS + "1]}", "objects and lists"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "within each other"),
        ('{"]]": [' * (MAX_DEPTH // 2) + "{" + "}" + "]}" * (MAX_DEPTH // 2), "within each other"),
        ("[" * 100_000, "objects and lists"),
        ("1" * (MAX_DIGITS + 1), "digits"),
    ],
    ids=lambda value: value[:20],
)
def test_what_is_beyond_a_bound_is_refused(text: str, bound: str) -> None:
    for sent in (text, text.encode()):
        error = refusal(sent, "/recipe")
        assert bound in error.message
        assert error.code == "field_invalid"


def test_as_deep_as_the_bound_is_taken() -> None:
    assert refusal("[" * 100, "/classes").pointer == "/classes"
    assert refusal("[" * 100).pointer is None
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(parse(deep)) == deep
    wide = deep[1:-1] + ", []" * MAX_DEPTH  # more brackets than levels
    assert len(parse(f"[{wide}]")) == 1 + MAX_DEPTH
    assert parse(json.dumps(deep + "[")) == deep + "["


def test_what_is_not_json_is_no_value() -> None:
    for text in ("", "{", "[1,]", '"a', "'a'", '"\\"', "]" * 100, "\\[", '{"a":\\"}'):
        with pytest.raises(json.JSONDecodeError):
            parse(text)
    for text in ("NaN", "[Infinity]", '{"a": -Infinity}'):  # which Python takes for numbers
        with pytest.raises(ValueError, match="is no JSON"):
            parse(text)
    assert parse(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}  # behind a mark of the byte order


@pytest.mark.parametrize("body", GREEDY.values(), ids=GREEDY)
def test_a_value_takes_at_most_a_few_times_the_memory_of_its_text(body: bytes) -> None:
    tracemalloc.start()
    try:
        parse(body)
    except (FieldInvalid, ValueError):
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < most_bytes(body)


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


@pytest.mark.parametrize("slow", ["parsing", "validation"])
def test_the_event_loop_goes_on_while_a_large_body_is_parsed_and_validated(
    slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        gate, app = Gate(), small_app()

        def parse_slowly(body: bytes) -> Any:
            gate.pass_through()
            return parse_body(body)

        if slow == "parsing":
            monkeypatch.setattr(declared_route, "parse_body", parse_slowly)
        else:
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
