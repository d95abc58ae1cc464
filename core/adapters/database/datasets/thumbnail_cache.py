"""A process's cache of the images that uploads are compared with.

A search reads only the images added since the last one. That is sound because thumbnails appear in
the order of their positions, as a writer holds `Thumbnails.lock` until it has committed, and are
removed by erasures alone, after which the cache starts again. Nor are images added without a
thumbnail any more.
"""

from collections.abc import Callable, Mapping
from threading import Lock

from core.adapters.images.similarity_index import ThumbnailIndex
from core.domain.values import Digest

_NONE = ThumbnailIndex()


class ThumbnailCache:
    """The cache for one database; safe to share between threads. Read-only transactions fill it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._index = _NONE
        self._erased = 0  # images, when the index was read
        self._without: Mapping[Digest, str] | None = None

    def index(self, after: Callable[[int], ThumbnailIndex], *, erased: int) -> ThumbnailIndex:
        """Return the index of all images; `after` reads those added after a position.

        `erased` is how many images have been erased so far.
        """
        with self._lock:
            if erased != self._erased:
                self._index, self._erased = _NONE, erased
            self._index = self._index.followed_by(after(self._index.position))
            return self._index

    def without(self, read: Callable[[], Mapping[Digest, str]]) -> Mapping[Digest, str]:
        """Return the hashes of images without a thumbnail, calling `read` the first time only."""
        with self._lock:
            if self._without is None:
                self._without = read()
            return self._without
