"""Look-ups that requests share."""

import asyncio
from collections.abc import Callable, Collection, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class SharedLookup(Generic[Key, Value]):
    """Looks up in one go the keys of all calls that wait, on a thread of its own.

    A call waits for a look-up that begins after it, so what it returns is never older than the
    call. The more calls there are, the more of them share a look-up.
    """

    def __init__(self, look_up: Callable[[Collection[Key]], Mapping[Key, Value]]) -> None:
        self._look_up = look_up
        self._turn = asyncio.Lock()  # one look-up at a time
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="look-ups")
        self._keys: set[Key] | None = None  # of the look-up that has not begun
        self._found: asyncio.Task[Mapping[Key, Value]] | None = None

    async def find(self, key: Key) -> Value | None:
        """Return what the key stands for, None if nothing. Raises what the look-up raises."""
        if self._keys is None or self._found is None:
            self._keys = set()
            self._found = asyncio.create_task(self._run(self._keys))
        self._keys.add(key)
        found = await asyncio.shield(self._found)  # others may wait for it too
        return found.get(key)

    def close(self) -> None:
        """End the thread, after the look-up in progress."""
        self._thread.shutdown()

    async def _run(self, keys: Collection[Key]) -> Mapping[Key, Value]:
        async with self._turn:
            self._keys = None  # later calls wait for the next one
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._look_up, keys)
