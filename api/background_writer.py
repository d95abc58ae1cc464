"""Write to the database a little later, so that no request waits for it."""

import logging
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Generic, Protocol, Self, TypeVar

from core.errors import PerennialError

log = logging.getLogger(__name__)


class Entries(Protocol):
    """Entries that are written in one go. `older | newer` holds those of both."""

    def __len__(self) -> int: ...

    def __or__(self, newer: Self, /) -> Self: ...


Batch = TypeVar("Batch", bound=Entries)


class BackgroundWriter(Generic[Batch]):
    """Collects entries and writes them together every `every_s` seconds, from a thread of its own.

    The thread starts with the first entries. They wait while the database does not respond; beyond
    `most` the newest are lost. What was not written yet is lost if the process is killed.
    """

    def __init__(
        self, name: str, write: Callable[[Batch], None], *, every_s: float, most: int
    ) -> None:
        self._name = name  # in the plural, for logs
        self._write = write
        self._every_s = every_s
        self._most = most
        self._waiting: Batch | None = None
        self._lock = Lock()  # of what waits, and of the thread's start
        self._writing = Lock()  # one batch at a time, in their order
        self._closing = Event()
        self._thread: Thread | None = None

    def add(self, entries: Batch) -> None:
        """Write these entries with the next batch."""
        with self._lock:
            self._collect(self._waiting, entries)
            if self._thread is None and not self._closing.is_set():
                self._thread = Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Write what was added before this call.

        Raises DatabaseUnavailable or StorageFull, and keeps it. What fails otherwise would fail
        again and hold up what comes after it: it is lost.
        """
        with self._writing:
            with self._lock:
                batch, self._waiting = self._waiting, None
            if not batch:
                return
            try:
                self._write(batch)
            except PerennialError:
                with self._lock:
                    self._collect(batch, self._waiting)
                raise
            except Exception:
                log.exception("%s are lost", self._name, extra={"count": len(batch)})

    def close(self) -> None:
        """Write what was added, and end the thread."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        self._try_flush()

    def _collect(self, older: Batch | None, newer: Batch | None) -> None:
        if older is None or newer is None:
            self._waiting = older or newer
            return
        both = older | newer
        if len(both) > self._most:
            log.warning("%s are lost", self._name, extra={"count": len(newer)})
            both = older
        self._waiting = both

    def _run(self) -> None:
        while not self._closing.wait(self._every_s):
            self._try_flush()

    def _try_flush(self) -> None:
        try:
            self.flush()
        except PerennialError as fault:
            log.warning("%s wait: %s", self._name, fault.message)
