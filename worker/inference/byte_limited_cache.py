"""A cache bounded by bytes."""

from collections import OrderedDict
from threading import Lock
from typing import Generic, TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class ByteLimitedCache(Generic[_Key, _Value]):
    """Values by key; safe to share between threads.

    When they exceed `max_bytes`, the least recently used are evicted. The last one put stays, even
    if it alone is larger.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._values: OrderedDict[_Key, tuple[_Value, int]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, key: _Key) -> _Value | None:
        """Return the value, which counts as a use, or None."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: _Key, value: _Value, size: int) -> None:
        """Store a value of `size` bytes."""
        self.make_room(size)
        with self._lock:
            _, before = self._values.pop(key, (None, 0))
            self._values[key] = (value, size)
            self._bytes += size - before

    def make_room(self, size: int) -> None:
        """Evict values until one of `size` bytes fits."""
        with self._lock:
            while self._values and self._bytes + size > self.max_bytes:
                _, (_, evicted) = self._values.popitem(last=False)
                self._bytes -= evicted

    def keys(self) -> list[_Key]:
        """Return the stored keys, the least recently used first."""
        with self._lock:
            return list(self._values)
