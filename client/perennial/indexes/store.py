"""A store of vectors, as those who fill and search it see it."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Vector = np.ndarray[tuple[int], np.dtype[np.float32]]

# Candidates of a search in a graph, of which the nearest are returned. Texts lie far from images,
# so what stores take by themselves, 40 in pgvector and 100 in Qdrant, misses some: vector-index.md.
EF_SEARCH = 200


class IndexFailure(Exception):
    """An index cannot be filled or searched, for the reason that the message says."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """An image in an index: its vector, and what that was made of."""

    id: str
    source: str  # digest of the image; another one means another vector
    texts: Sequence[str]  # class or captions
    vector: Vector


@dataclass(frozen=True, kw_only=True)
class Live:
    """The version searched, by which queries are embedded; `digest` identifies it."""

    version: int
    digest: str
    side: int  # the version whose table or collection has the vectors; another one if they are held


@dataclass(frozen=True, kw_only=True)
class Hit:
    """An image that a search has found; the score is a cosine."""

    id: str
    texts: Sequence[str]
    score: float


class Store(Protocol):
    """The tables or collections of one index: a side for each version that has vectors, and which
    one is searched.

    Every verb is done as a whole or not at all. All raise IndexFailure where the store refuses.
    """

    def claim(self, index: str) -> None:
        """Make the store that of the index with this id, and its only filler, until `release`.

        Raises IndexFailure if it is another index's, or another process fills it.
        """

    def release(self) -> None:
        """Let others fill the store."""

    def live(self) -> Live | None:
        """Return what is searched, None before the first switch."""

    def switch(self, live: Live) -> None:
        """Have another side searched, from one moment to the next."""

    def search(self, live: Live, vector: Vector, limit: int) -> Sequence[Hit] | None:
        """Return the nearest images to a query of the live version, the nearest first.

        None if something else is live by now.
        """

    def sides(self) -> Mapping[int, str]:
        """Return the versions that have a side, each with the name of what it was filled from."""

    def create(self, side: int, width: int) -> None:
        """Make an empty side, unless it is there."""

    def mark(self, side: int, source: str) -> None:
        """Keep the name of what a side was filled from."""

    def sources(self, side: int) -> Mapping[str, str]:
        """Return the ids that a side has, each with the digest of its image."""

    def read(self, side: int, after: str, limit: int) -> Sequence[Item]:
        """Return items of a side in an order of its own, those after an id; "" begins."""

    def write(self, side: int, items: Sequence[Item], gone: Collection[str] = ()) -> None:
        """Put items in the place of those with the same ids, and remove those that are gone."""

    def finish(self, side: int) -> None:
        """Make what searches in a side fast, unless it is there."""

    def drop(self, side: int) -> None:
        """Delete a side, if it is there; the one that is searched is not deleted."""


class Pace:
    """Lets so many vectors pass each second, on average since the last pause."""

    def __init__(
        self,
        rate: float | None,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._rate = rate
        self._now = now
        self._sleep = sleep
        self._free_at = now()

    def parts(self, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
        """Yield items in parts of a second at most, each when it may be written."""
        size = max(1, int(self._rate)) if self._rate else len(items)
        for first in range(0, len(items), size):
            part = items[first : first + size]
            self.wait(len(part))
            yield part

    def wait(self, count: int) -> None:
        """Return when `count` more vectors may be written."""
        if not self._rate:
            return
        begin = max(self._free_at, self._now())
        if (pause := begin - self._now()) > 0:
            self._sleep(pause)
        self._free_at = begin + count / self._rate
