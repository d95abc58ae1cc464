"""Keys while an issuer does not answer or the database is down, and look-ups that calls share."""

import asyncio
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from threading import Event
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from api.http.authentication import KNOWN_S, Holders, KeyCheck, KeyUses, KnownScrapers
from api.http.lookups import SharedLookup
from api.http.middleware import RequestIds
from core.errors import IssuerUnavailable, ModelNotFound
from core.principal import Principal, Role
from core.values import KeyId
from tests.support.factories import NOW, TESTER

MORE_THAN_THREADS = 60  # all requests share 40


@pytest.mark.parametrize("tokens", [1, MORE_THAN_THREADS])
def test_keys_are_accepted_while_many_tokens_wait(tokens: int) -> None:
    may_answer = Event()

    class OneKey(Holders):
        def __init__(self) -> None: ...

        async def of_key(self, secret: str) -> Principal | None:
            return Principal(name="ci", role=Role.VIEWER) if secret == "key" else None

    def authenticate_token(_token: str) -> Principal:
        may_answer.wait()
        raise IssuerUnavailable

    async def who(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(scope["state"]["principal"].name)(scope, receive, send)

    checked = KeyCheck(
        who,
        holders=OneKey(),
        authenticate_token=authenticate_token,
    )
    statuses: list[int] = []

    async def ask(client: httpx.AsyncClient, secret: str) -> httpx.Response:
        answer = await client.get("/v1/models", headers={"Authorization": f"Bearer {secret}"})
        statuses.append(answer.status_code)
        return answer

    async def main() -> None:
        transport = httpx.ASGITransport(RequestIds(checked))
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
            anyio.create_task_group() as waiting,
        ):
            for _ in range(tokens):
                waiting.start_soon(ask, client, "a.b.c")
            try:
                await anyio.wait_all_tasks_blocked()
                with anyio.fail_after(60):
                    assert (await ask(client, "key")).text == "ci"
                assert statuses == [200]
            finally:
                may_answer.set()

    anyio.run(main)
    assert statuses == [200] + [503] * tokens


def test_a_key_is_known_for_a_while_after_it_was_last_accepted() -> None:
    now = [0.0]
    scrapers = KnownScrapers(lambda: now[0])
    scrapers.remember("a", TESTER)
    assert (scrapers.find("a"), scrapers.find("b")) == (TESTER, None)
    now[0] = KNOWN_S
    assert scrapers.find("a") is None
    scrapers.remember("a", TESTER)
    assert scrapers.find("a") == TESTER


ONE, OTHER = KeyId("key_1"), KeyId("key_2")


class Book:
    """Takes the place of the platform: it notes what is written."""

    def __init__(self) -> None:
        self.written: list[Mapping[KeyId, datetime]] = []
        self.now = NOW

    def clock(self) -> datetime:
        return self.now

    @contextmanager
    def transactions(self) -> Iterator[Any]:
        note = SimpleNamespace(note_uses=self.written.append)
        yield type("Faked", (), {"__getitem__": lambda _, kind: note, "commit": lambda _: None})()


def test_many_uses_are_written_once_with_the_last_time() -> None:
    book = Book()
    uses = KeyUses(book)  # type: ignore[arg-type]
    uses.note(ONE)
    book.now += timedelta(seconds=9)
    for _ in range(100):
        uses.note(ONE)
        uses.note(OTHER)
    assert book.written == []
    uses.flush()
    uses.flush()  # nothing is new
    uses.close()
    assert book.written == [{ONE: book.now, OTHER: book.now}]


class Store:
    """A value to look up; the first look-up reads it, and returns once it may."""

    def __init__(self) -> None:
        self.values = {"a": "old", "b": "old"}
        self.asked: list[set[str]] = []
        self.loop = asyncio.get_running_loop()
        self.has_read = anyio.Event()
        self.may_return = threading.Event()

    def look_up(self, keys: Collection[str]) -> Mapping[str, str]:
        self.asked.append(set(keys))
        found = {key: self.values[key] for key in keys if key in self.values}
        if len(self.asked) == 1:
            self.loop.call_soon_threadsafe(self.has_read.set)
            self.may_return.wait()
        return found


def test_calls_during_a_look_up_share_the_next_and_see_what_has_changed_since() -> None:
    async def main() -> None:
        store, found = Store(), []
        shared = SharedLookup(store.look_up, lambda: None)

        async def find(key: str) -> None:
            found.append(await shared.find(key))

        async with anyio.create_task_group() as calls:
            try:
                calls.start_soon(find, "a")
                await store.has_read.wait()
                store.values["a"] = "new"
                for key in ("a", "a", "b", "c"):
                    calls.start_soon(find, key)
                await anyio.wait_all_tasks_blocked()
            finally:
                store.may_return.set()
        assert found == ["old", "new", "new", "old", None]
        assert store.asked == [{"a"}, {"a", "b", "c"}]

    anyio.run(main)


def test_a_call_that_is_given_up_leaves_the_look_up_to_the_others() -> None:
    async def main() -> None:
        store = Store()
        shared = SharedLookup(store.look_up, lambda: None)
        async with anyio.create_task_group() as calls:
            try:
                calls.start_soon(shared.find, "a")
                await store.has_read.wait()
                with anyio.move_on_after(0):
                    await shared.find("a")
            finally:
                store.may_return.set()
            assert await shared.find("a") == "old"
        assert len(store.asked) == 2

    anyio.run(main)


def test_a_value_is_looked_up_again_once_anything_was_committed_since_its_look_up_began() -> None:
    values: dict[str, str | ModelNotFound] = {"a": "old", "fault": ModelNotFound()}
    state, during = [1], list[Callable[[], None]]()
    asked: list[str] = []

    def look_up(keys: Collection[str]) -> Mapping[str, str | ModelNotFound]:
        asked.extend(keys)
        found = {key: values[key] for key in keys if key in values}
        if during:
            during.pop()()
        return found

    def commit(**changed: str) -> None:
        values.update(changed)
        state[0] += 1

    async def main() -> None:
        shared = SharedLookup(look_up, lambda: state[0])
        during.append(partial(commit, a="newer"))  # after it has been read
        assert await shared.find("a") == "old"
        assert [await shared.find("a") for _ in range(3)] == ["newer"] * 3
        assert asked == ["a", "a"]
        commit(a="newest")
        assert await shared.find("a") == "newest"
        for _ in range(2):  # neither a fault nor what is not there is remembered
            assert isinstance(await shared.find("fault"), ModelNotFound)
            assert await shared.find("none") is None
        assert asked == ["a"] * 3 + ["fault", "none"] * 2
        shared.close()

    anyio.run(main)


def test_only_so_many_values_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.http.lookups.MOST_KNOWN", 3)
    asked: list[str] = []

    def look_up(keys: Collection[str]) -> Mapping[str, str]:
        asked.extend(keys)
        return {key: key for key in keys}

    async def main() -> None:
        shared = SharedLookup(look_up, lambda: 1)
        for key in "abcdea":
            assert await shared.find(key) == key
        shared.close()

    anyio.run(main)
    assert asked == list("abcdea")
