"""An in-memory index of thumbnails, searched by similarity."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from core.datasets.image_lists import NEAR, THUMBNAIL_SIDE, SimilarImage
from core.values import Digest

_CHANNELS = 3
_VALUES = THUMBNAIL_SIDE * THUMBNAIL_SIDE * _CHANNELS
# If two thumbnails are at most NEAR apart, their means of a channel differ by at most this. It
# follows from the power mean inequality within a channel, which may hold all of the differences.
# Comparing means is a cheap first filter.
_NEAR_MEANS = NEAR * _CHANNELS**0.25


class ThumbnailIndex:
    """Similar images by their thumbnails, in memory."""

    def __init__(self, rows: Iterable[tuple[Digest, str]] = (), *, position: int = 0) -> None:
        rows = list(rows)
        self.position = position
        self._groups = [group for group, _ in rows]
        self._thumbnails = _decode("".join(thumbnail for _, thumbnail in rows))
        self._means = _means(self._thumbnails)

    def near(self, thumbnail: str) -> Sequence[SimilarImage]:
        """Return the images whose distance is at most NEAR."""
        if not self._groups:
            return []
        own = _decode(thumbnail)
        close = np.abs(self._means - _means(own)) <= _NEAR_MEANS
        rows = np.flatnonzero(close.all(axis=0))
        squares = (self._thumbnails[rows].astype(np.float64) - own) ** 2
        distances = np.sqrt(np.sqrt((squares**2).mean(axis=1)))
        return [
            SimilarImage(group=self._groups[row], distance=float(distance))
            for row, distance in zip(rows, distances, strict=True)
            if distance <= NEAR
        ]

    def followed_by(self, later: "ThumbnailIndex") -> "ThumbnailIndex":
        """Return an index of these images and later ones, without changing either."""
        if not later._groups:
            return self
        both = ThumbnailIndex(position=later.position)
        both._groups = [*self._groups, *later._groups]
        both._thumbnails = np.concatenate([self._thumbnails, later._thumbnails])
        both._means = np.concatenate([self._means, later._means], axis=1)
        return both


def _decode(thumbnails: str) -> NDArray[np.uint8]:
    """Parse concatenated hexadecimal thumbnails into an array with one row each."""
    return np.frombuffer(bytes.fromhex(thumbnails), np.uint8).reshape(-1, _VALUES)


def _means(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the mean of each channel, shape (3, thumbnails); 64ths are exact in 32 bits."""
    pixels = thumbnails.reshape(-1, _VALUES // _CHANNELS, _CHANNELS)
    means: NDArray[np.float32] = pixels.mean(axis=1, dtype=np.float32).T
    return np.ascontiguousarray(means)
