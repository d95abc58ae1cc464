"""Look-ups shared by calls that wait at the same time."""

import asyncio
import threading
from collections.abc import Collection, Mapping

import anyio
import pytest

from api.http.lookups import SharedLookup
from core.errors import DatabaseUnavailable


class Store:
    """What is looked up; the first look-up reads it, and returns once it may."""

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
        shared = SharedLookup(store.look_up)

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
        shared = SharedLookup(store.look_up)
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


def test_a_failed_look_up_fails_its_own_calls_only() -> None:
    async def main() -> None:
        broken = True

        def look_up(keys: Collection[str]) -> Mapping[str, str]:
            if broken:
                raise DatabaseUnavailable
            return dict.fromkeys(keys, "found")

        shared = SharedLookup(look_up)
        with pytest.raises(DatabaseUnavailable):
            await shared.find("a")
        broken = False
        assert await shared.find("a") == "found"

    anyio.run(main)
