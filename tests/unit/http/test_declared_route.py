"""JSON bodies of routes: a large one leaves the event loop to others, and takes little memory."""

import asyncio
import json
import threading
import tracemalloc
from typing import Any

import pytest

from api.http import routing as declared_route
from api.http.json_bodies import AT_ONCE, parse_body
from tests.support.api.greedy_json import GREEDY, most_bytes
from tests.support.api.small_app import post, posted, small_app
from tests.support.threads import Gate

LARGE = json.dumps({"text": "a" * AT_ONCE}).encode()


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


def test_a_small_body_is_read_without_a_thread() -> None:
    threads: list[threading.Thread] = []
    app = small_app(check=lambda _: threads.append(threading.current_thread()))
    assert posted({"text": "a"}, app).json() == 1
    assert threads == [threading.current_thread()]


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
