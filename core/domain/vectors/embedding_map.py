"""Maps of embeddings: the images of a suite by two versions, on the same two axes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from core.domain.datasets.manifest import ManifestEntry
from core.domain.evaluation.query import ClassQuery, EvalQuery
from core.domain.values import Digest, Json

MOST_POINTS = 300  # of a suite: the page draws each twice
DIGITS = 4

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class MappedImage:
    """An image, where the old version puts it and where the new one does."""

    pixels: Digest
    class_name: str | None  # None in a captioned suite
    before: Point
    now: Point


@dataclass(frozen=True, kw_only=True)
class EmbeddingMap:
    """The test images of a suite or holdout, or an even sample of many."""

    suite: str
    count: int  # images of which these are all, or a sample
    explained: Point  # share of the variance of both versions' embeddings along each axis
    images: tuple[MappedImage, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the map as plain JSON, with a short row for each image."""
        rows = [[one.pixels, one.class_name, *one.before, *one.now] for one in self.images]
        return {
            "suite": self.suite,
            "count": self.count,
            "explained": list(self.explained),
            "images": rows,
        }

    @classmethod
    def from_json(cls, value: Json) -> Self:
        """Return the map that `to_json` wrote."""
        first, second = value["explained"]
        return cls(
            suite=value["suite"],
            count=value["count"],
            explained=(first, second),
            images=tuple(
                MappedImage(pixels=pixels, class_name=name, before=(a, b), now=(c, d))
                for pixels, name, a, b, c, d in value["images"]
            ),
        )


def sample_of(count: int, most: int = MOST_POINTS) -> list[int]:
    """Return the rows of an even sample of sorted images; pixels are hashes, so it is random."""
    return [row * count // most for row in range(most)] if count > most else [*range(count)]


def map_of(
    suite: str,
    query: EvalQuery,
    rows: Sequence[int],
    points: tuple[Sequence[Sequence[float]], Sequence[Sequence[float]]],
    explained: Sequence[float],
) -> EmbeddingMap:
    """Return the map of a query's images of these rows, by the points of both versions."""
    by_class = isinstance(query, ClassQuery)
    entries: Sequence[ManifestEntry] = [query.entries[row] for row in rows]
    return EmbeddingMap(
        suite=suite,
        count=len(query.entries),
        explained=_rounded(explained),
        images=tuple(
            MappedImage(
                pixels=entry.pixels,
                class_name=entry.class_name if by_class else None,
                before=_rounded(old),
                now=_rounded(new),
            )
            for entry, old, new in zip(entries, *points, strict=True)
        ),
    )


def _rounded(values: Sequence[float]) -> Point:
    first, second = (round(value, DIGITS) for value in values)
    return first, second
