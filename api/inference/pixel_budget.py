"""A bound on the pixels that requests hold until they are answered."""

from collections.abc import Callable, Iterator
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
    def request(self) -> Iterator[Callable[[int], None]]:
        """Provide a function that takes bytes, all of which are given back at the end.

        It raises InferenceBusy if these and what other requests hold would be too many. A request
        that is alone may take any number.
        """
        own = 0

        def take(size: int) -> None:
            nonlocal own
            with self._lock:
                if self._held > own and self._held + size > self._max_bytes:
                    raise InferenceBusy
                self._held += size
                own += size

        try:
            yield take
        finally:
            with self._lock:
                self._held -= own
