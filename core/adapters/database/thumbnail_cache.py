"""What a process keeps of the images it has compared uploads with.

A search reads what has come since the last one instead of every image. That is sound because
thumbnails are only ever added, in the order of their positions: who adds some holds the lock of
`Thumbnails.lock` until they are committed. And no image comes without one any more.
"""

from collections.abc import Callable, Mapping
from threading import Lock

from core.adapters.images.similarity_index import ThumbnailIndex
from core.domain.values import Digest

_NONE = ThumbnailIndex()


class ThumbnailCache:
    """Of one database; safe to share between threads. It is filled by read-only transactions."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._index = _NONE
        self._without: Mapping[Digest, str] | None = None

    def index(self, after: Callable[[int], ThumbnailIndex]) -> ThumbnailIndex:
        """Return all images, where `after` reads those that came after a position."""
        with self._lock:
            self._index = self._index.followed_by(after(self._index.position))
            return self._index

    def without(self, read: Callable[[], Mapping[Digest, str]]) -> Mapping[Digest, str]:
        """Return the hashes of the images that had no thumbnail when they were first asked for."""
        with self._lock:
            if self._without is None:
                self._without = read()
            return self._without
