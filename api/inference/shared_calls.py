"""Calls about images or texts that concurrent callers share."""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeVar

from core.errors import InferenceBusy

MAX_WAITING = 4096  # inputs, each an image or a text, that wait or are in a call
MAX_WAITING_BYTES = 512 * 1024 * 1024  # of their pixels and texts
MAX_CALLS = 8  # of all keys, each with a thread

K = TypeVar("K")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Entry(Generic[K, R]):
    """A caller's inputs to one question; the call for them has not begun yet."""

    key: K
    inputs: Sequence[bytes]
    label: str
    future: "Future[Sequence[R]]" = field(default_factory=Future)

    @property
    def bytes(self) -> int:
        return sum(map(len, self.inputs))


class SharedCalls(Generic[K, R]):
    """Makes few calls for a key at once; inputs that arrive meanwhile share the next ones.

    So a single caller never waits for others, and the more there are, the larger are the calls.
    Keys do not wait for each other until there are `max_calls`, so that a call that takes long
    delays those that ask the same. `call(key, inputs, labels)` runs in a thread and returns a
    result for each input. A call that fails fails for all its callers.
    """

    def __init__(
        self,
        call: Callable[[K, Sequence[bytes], Sequence[str]], Sequence[R]],
        *,
        most: Callable[[K], int],
        at_once: int,
        max_calls: int = MAX_CALLS,
        max_waiting: int = MAX_WAITING,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        self._call = call
        self._most = most  # inputs in one call
        self._at_once = at_once  # calls for one key
        self._idle = max_calls
        self._max_waiting = max_waiting
        self._max_waiting_bytes = max_waiting_bytes
        self._inputs = 0
        self._bytes = 0
        self._waiting: deque[_Entry[K, R]] = deque()
        self._calls: Counter[K] = Counter()  # under way
        self._lock = Lock()
        self._threads = ThreadPoolExecutor(max_calls, thread_name_prefix="calls")

    def submit(
        self, key: K, inputs: Sequence[bytes], label: str
    ) -> "Sequence[Future[Sequence[R]]]":
        """Return the future results for inputs, in parts that fit into one call each.

        Raises InferenceBusy if too many wait already, and then asks for none of these; an empty
        queue takes any.
        """
        most = self._most(key)
        entries: list[_Entry[K, R]] = [
            _Entry(key=key, inputs=inputs[first : first + most], label=label)
            for first in range(0, len(inputs), most)
        ]
        with self._lock:
            self._require_room(entries)
            self._count(entries, 1)
            self._waiting.extend(entries)
            begin = min(len(entries), self._idle, self._at_once - self._calls[key])
            self._idle -= begin
        for _ in range(begin):
            self._threads.submit(self._work)
        return [entry.future for entry in entries]

    def close(self) -> None:
        """Let the calls in progress end; inputs that still wait get no result."""
        with self._lock:
            for entry in self._waiting:
                entry.future.cancel()
            self._waiting.clear()
        self._threads.shutdown()

    def _require_room(self, entries: Sequence[_Entry[K, R]]) -> None:
        inputs = self._inputs + sum(len(entry.inputs) for entry in entries)
        size = self._bytes + sum(entry.bytes for entry in entries)
        if self._inputs and (inputs > self._max_waiting or size > self._max_waiting_bytes):
            raise InferenceBusy

    def _count(self, entries: Sequence[_Entry[K, R]], sign: int) -> None:
        """Count entries that have come, or with -1 those that have gone."""
        self._inputs += sign * sum(len(entry.inputs) for entry in entries)
        self._bytes += sign * sum(entry.bytes for entry in entries)

    def _work(self) -> None:
        while taken := self._take():
            asking = [entry for entry in taken if entry.future.set_running_or_notify_cancel()]
            if asking:
                self._answer(asking)
            with self._lock:
                self._count(taken, -1)
                self._end_call(taken[0].key)

    def _take(self) -> Sequence[_Entry[K, R]]:
        """Take the inputs that have waited longest, and as many others for the same key as fit.

        Inputs of a key that has all its calls under way are passed over.
        """
        with self._lock:
            key = self._next_key()
            if key is None:
                self._idle += 1
                return ()
            room = self._most(key)
            taken: list[_Entry[K, R]] = []
            left: deque[_Entry[K, R]] = deque()
            for entry in self._waiting:
                fits = entry.key == key and (not taken or len(entry.inputs) <= room)
                (taken if fits else left).append(entry)
                room -= len(entry.inputs) if fits else 0
            self._waiting = left
            self._calls[key] += 1
            return taken

    def _next_key(self) -> K | None:
        waiting = (entry.key for entry in self._waiting)
        return next((key for key in waiting if self._calls[key] < self._at_once), None)

    def _end_call(self, key: K) -> None:
        self._calls[key] -= 1
        if not self._calls[key]:
            del self._calls[key]

    def _answer(self, asking: Sequence[_Entry[K, R]]) -> None:
        inputs = [one for entry in asking for one in entry.inputs]
        try:
            results = self._call(asking[0].key, inputs, [entry.label for entry in asking])
        except BaseException as fault:  # noqa: BLE001 - it is raised by whoever waits
            for entry in asking:
                entry.future.set_exception(fault)
            return
        first = 0
        for entry in asking:
            entry.future.set_result(results[first : first + len(entry.inputs)])
            first += len(entry.inputs)
