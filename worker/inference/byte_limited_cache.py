"""A cache that is bounded by bytes."""

from collections import OrderedDict
from threading import Lock
from typing import Generic, TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class ByteLimitedCache(Generic[_Key, _Value]):
    """Values by key; safe to share between threads.

    Once they have more bytes than allowed, the least recently used go. The one that was put last
    stays even if it alone is larger.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._values: OrderedDict[_Key, tuple[_Value, int]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, key: _Key) -> _Value | None:
        """Return the value, which counts as used now, or None."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: _Key, value: _Value, size: int) -> None:
        """Keep a value of so many bytes."""
        self.make_room(size)
        with self._lock:
            _, before = self._values.pop(key, (None, 0))
            self._values[key] = (value, size)
            self._bytes += size - before

    def make_room(self, size: int) -> None:
        """Give up what has to go before a value of so many bytes comes."""
        with self._lock:
            while self._values and self._bytes + size > self.max_bytes:
                _, (_, given_up) = self._values.popitem(last=False)
                self._bytes -= given_up

    def keys(self) -> list[_Key]:
        """Return the keys of what is kept, the least recently used first."""
        with self._lock:
            return list(self._values)
