"""A bound on the pixels that requests hold until they are answered."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from core.errors import InferenceBusy

MAX_BYTES = 512 * 1024 * 1024


class PixelBudget:
    """Bounds the pixels of all requests together; safe to share between threads.

    An image of a few bytes is as many pixels as any other once it is decoded, so that the sizes of
    requests bound nothing.
    """

    def __init__(self, *, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._held = 0
        self._lock = Lock()

    @contextmanager
    def request(self) -> Iterator["Taken"]:
        """Provide what a request takes, all of which is given back at the end."""
        taken = Taken(self)
        try:
            yield taken
        finally:
            with self._lock:
                self._held -= taken.own

    def take(self, taken: "Taken", size: int) -> None:
        """Take bytes for a request. Raises InferenceBusy."""
        with self._lock:
            if self._held > taken.own and self._held + size > self._max_bytes:
                raise InferenceBusy
            self._add(taken, size)

    def take_spare(self, taken: "Taken", size: int) -> bool:
        """Take bytes for a request while half of all are free; return whether they were."""
        with self._lock:
            if self._held + size > self._max_bytes // 2:
                return False
            self._add(taken, size)
            return True

    def _add(self, taken: "Taken", size: int) -> None:
        self._held += size
        taken.own += size


class Taken:
    """The bytes that a request has taken of a budget."""

    def __init__(self, budget: PixelBudget) -> None:
        self._budget = budget
        self.own = 0

    def __call__(self, size: int) -> None:
        """Take bytes that the answer needs.

        Raises InferenceBusy if these and what other requests hold would be too many. A request
        that is alone may take any number.
        """
        self._budget.take(self, size)

    def spare(self, size: int) -> bool:
        """Take bytes that the answer does not need, while half of all are free; return whether."""
        return self._budget.take_spare(self, size)
