"""Calls about images that concurrent callers share."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeVar

from core.errors import InferenceBusy

MAX_WAITING = 4096  # images that wait or are in a call
MAX_WAITING_BYTES = 512 * 1024 * 1024  # of their pixels

K = TypeVar("K")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Entry(Generic[K, R]):
    """A caller's images about one question; the call for them has not begun yet."""

    key: K
    images: Sequence[bytes]
    label: str
    future: "Future[Sequence[R]]" = field(default_factory=Future)

    @property
    def bytes(self) -> int:
        return sum(map(len, self.images))


class SharedCalls(Generic[K, R]):
    """Makes few calls at once; images that arrive meanwhile share the next ones.

    So a single caller never waits for others, and the more there are, the larger are the calls.
    `call(key, images, labels)` runs in a thread and returns a result for each image. A call that
    fails fails for all its callers.
    """

    def __init__(
        self,
        call: Callable[[K, Sequence[bytes], Sequence[str]], Sequence[R]],
        *,
        most: Callable[[K], int],
        at_once: int,
        max_waiting: int = MAX_WAITING,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        self._call = call
        self._most = most  # images in one call
        self._idle = at_once
        self._max_waiting = max_waiting
        self._max_waiting_bytes = max_waiting_bytes
        self._images = 0
        self._bytes = 0
        self._waiting: deque[_Entry[K, R]] = deque()
        self._lock = Lock()
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="calls")

    def submit(self, key: K, images: Sequence[bytes], label: str) -> "Future[Sequence[R]]":
        """Return the future results for images, at most as many as one call may have.

        Raises InferenceBusy if too many wait already; an empty queue takes any.
        """
        entry: _Entry[K, R] = _Entry(key=key, images=images, label=label)
        with self._lock:
            self._require_room(entry)
            self._images += len(images)
            self._bytes += entry.bytes
            self._waiting.append(entry)
            if not self._idle:
                return entry.future
            self._idle -= 1
        self._threads.submit(self._work)
        return entry.future

    def close(self) -> None:
        """Let the calls in progress end; images that still wait get no result."""
        with self._lock:
            for entry in self._waiting:
                entry.future.cancel()
            self._waiting.clear()
        self._threads.shutdown()

    def _require_room(self, entry: _Entry[K, R]) -> None:
        if self._images and (
            self._images + len(entry.images) > self._max_waiting
            or self._bytes + entry.bytes > self._max_waiting_bytes
        ):
            raise InferenceBusy

    def _work(self) -> None:
        while taken := self._take():
            asking = [entry for entry in taken if entry.future.set_running_or_notify_cancel()]
            if asking:
                self._answer(asking)
            with self._lock:
                self._images -= sum(len(entry.images) for entry in taken)
                self._bytes -= sum(entry.bytes for entry in taken)

    def _take(self) -> Sequence[_Entry[K, R]]:
        """Take the images that have waited longest, and as many others for the same key as fit."""
        with self._lock:
            if not self._waiting:
                self._idle += 1
                return ()
            key = self._waiting[0].key
            room = self._most(key)
            taken: list[_Entry[K, R]] = []
            left: deque[_Entry[K, R]] = deque()
            for entry in self._waiting:
                fits = entry.key == key and (not taken or len(entry.images) <= room)
                (taken if fits else left).append(entry)
                room -= len(entry.images) if fits else 0
            self._waiting = left
            return taken

    def _answer(self, asking: Sequence[_Entry[K, R]]) -> None:
        images = [image for entry in asking for image in entry.images]
        try:
            results = self._call(asking[0].key, images, [entry.label for entry in asking])
        except BaseException as fault:  # noqa: BLE001 - it is raised by whoever waits
            for entry in asking:
                entry.future.set_exception(fault)
            return
        first = 0
        for entry in asking:
            entry.future.set_result(results[first : first + len(entry.images)])
            first += len(entry.images)
