"""The verdict on two versions that share an index, its images and its report."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from statistics import fmean
from typing import Any, Self

from core.datasets.manifests import ManifestEntry
from core.datasets.rules import DatasetRef
from core.errors import SuitesTooSmall
from core.evaluation.queries import ClassQuery, EvalQuery
from core.gate.intervals import Flips, Interval, paired_interval
from core.values import Digest, JobId, Json, ModelId

# The verdict on an index of one version's image vectors that another version searches.

DEPTH = 10  # results of a search
TOLERANCE = 0.02  # recall@10 that an index may lose against a re-embedded one
LEAST_QUERIES = 100  # a search with fewer is shown, not judged
ALPHA = 0.025  # each side: two-sided 95 %


class Search(StrEnum):
    """The kinds of searches in an index of images."""

    TEXT_TO_IMAGE = "text_to_image"
    IMAGE_TO_IMAGE = "image_to_image"


class IndexVerdict(StrEnum):
    """Advice on an index of the old version's vectors."""

    INDEX_HOLDS = "index_holds"  # nothing
    BRIDGE = "bridge"  # map its vectors by the bridge
    REEMBED = "reembed"  # embed its images again
    UNCERTAIN = "uncertain"  # too few queries to tell; embed its images again to be sure


@dataclass(frozen=True, kw_only=True)
class SearchRecalls:
    """Recall@10 of each query of the new version, in three indexes of the same images.

    `raw` is the index of the old version's vectors, `bridged` the same mapped by the bridge,
    `reembedded` that of the new version's. Recall is the share of the right images among the first
    ten, of at most ten; values are in [0, 1].
    """

    suite: str
    search: Search
    raw: tuple[float, ...]
    bridged: tuple[float, ...]
    reembedded: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class SuiteVectors:
    """A comparison of the vectors of a suite's test images; cosines and shares are means.

    `neighbours_kept` is the share of an image's ten nearest images that are the same within both
    versions. The other two are the shares of those nearest in a re-embedded index that a query of
    the new version finds in the old index, raw and bridged.
    """

    suite: str
    images: int
    cosine: float
    bridged_cosine: float
    neighbours_kept: float
    neighbours_found: float
    bridged_neighbours_found: float


@dataclass(frozen=True, kw_only=True)
class Loss:
    """An index's loss of recall@10 against a re-embedded one, with an interval of 95 %."""

    value: float
    interval: Interval

    @property
    def tolerable(self) -> bool | None:
        """True if it is at most `TOLERANCE`; None if the interval has losses of both kinds."""
        if self.interval.upper <= TOLERANCE:
            return True
        return False if self.interval.lower > TOLERANCE else None


@dataclass(frozen=True, kw_only=True)
class SearchMeasure:
    """A search in the three indexes: mean recalls, and what two of them lose."""

    suite: str
    search: Search
    queries: int
    raw: float
    bridged: float
    reembedded: float
    raw_loss: Loss
    bridged_loss: Loss

    @property
    def judged(self) -> bool:
        """True if there are enough queries for a verdict."""
        return self.queries >= LEAST_QUERIES

    @property
    def name(self) -> str:
        """The search as a reason names it."""
        return f"{self.search.value.replace('_', ' ')} on {self.suite}"


def measure_search(recalls: SearchRecalls) -> SearchMeasure:
    """Return the means of a search's recalls, and the losses, paired by query."""
    return SearchMeasure(
        suite=recalls.suite,
        search=recalls.search,
        queries=len(recalls.reembedded),
        raw=fmean(recalls.raw),
        bridged=fmean(recalls.bridged),
        reembedded=fmean(recalls.reembedded),
        raw_loss=_loss(recalls.raw, recalls.reembedded),
        bridged_loss=_loss(recalls.bridged, recalls.reembedded),
    )


def judge_index(measures: Sequence[SearchMeasure]) -> tuple[IndexVerdict, str]:
    """Return what to do with the index, and a sentence that says why.

    The first of these that surely loses at most two points of recall@10 in every search with enough
    queries: nothing, the bridge. Re-embedding if both surely lose more in some search. Else it is
    uncertain.
    """
    judged = [measure for measure in measures if measure.judged]
    if not judged:
        return (
            IndexVerdict.UNCERTAIN,
            f"Uncertain: no search in the suites has {LEAST_QUERIES} queries or more, too few to "
            "tell whether the index holds. Re-embed to be sure.",
        )
    raw = max(judged, key=lambda measure: _worst(measure.raw_loss))
    bridged = max(judged, key=lambda measure: _worst(measure.bridged_loss))
    if raw.raw_loss.tolerable:
        return (
            IndexVerdict.INDEX_HOLDS,
            f"The index holds: against a re-embedded one, recall@{DEPTH} {_fell(raw.raw_loss)} "
            f"({raw.name}), and {_points(TOLERANCE)} points are allowed.",
        )
    if bridged.bridged_loss.tolerable:
        return (
            IndexVerdict.BRIDGE,
            f"Map the index by the bridge: recall@{DEPTH} {_fell(bridged.bridged_loss)} "
            f"({bridged.name}), and {_points(TOLERANCE)} points are allowed. Without the bridge it "
            f"{_fell(raw.raw_loss)} ({raw.name}).",
        )
    if raw.raw_loss.tolerable is False and bridged.bridged_loss.tolerable is False:
        return (
            IndexVerdict.REEMBED,
            f"Re-embed: even with the bridge, recall@{DEPTH} {_fell(bridged.bridged_loss)} "
            f"({bridged.name}), and {_points(TOLERANCE)} points are allowed.",
        )
    return (
        IndexVerdict.UNCERTAIN,
        f"Uncertain: recall@{DEPTH} {_fell(raw.raw_loss)} ({raw.name}), by the bridge it "
        f"{_fell(bridged.bridged_loss)} ({bridged.name}), and {_points(TOLERANCE)} points are "
        "allowed. More test images in the suites would tell; re-embed to be sure.",
    )


def _worst(loss: Loss) -> tuple[bool, float]:
    """Return the key of the loss that decides: surely too much, else what may be the most."""
    return loss.tolerable is False, loss.interval.upper


def _loss(index: Sequence[float], reembedded: Sequence[float]) -> Loss:
    """Return the mean loss, with Tango's interval.

    Recalls are shares, so a difference counts as a part of a flip. The interval is then too wide
    rather than too narrow, because the square of a share is at most the share.
    """
    changes = [there - here for here, there in zip(index, reembedded, strict=True)]
    flips = Flips(
        count=len(changes),
        gained=sum(max(0.0, change) for change in changes),
        lost=sum(max(0.0, -change) for change in changes),
    )
    return Loss(value=flips.difference, interval=paired_interval(flips, ALPHA))


def _fell(loss: Loss) -> str:
    between = f"(interval {_signed(-loss.interval.upper)} to {_signed(-loss.interval.lower)})"
    if round(100 * loss.value, 1) <= 0:
        return f"does not fall {between}"
    return f"falls by {_points(loss.value)} points {between}"


def _points(value: float) -> str:
    return f"{100 * value:.1f}"


def _signed(value: float) -> str:
    return f"{100 * value + 0.0:+.1f}".replace("-", "\N{MINUS SIGN}")


# Maps of embeddings: the images of a suite by two versions, on the same two axes.

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


# The images of suites and holdouts that a bridge is fitted on, and those that are searched.

LEAST_FITTED = 16  # images that a bridge is fitted on
LEAST_SEARCHED = 2  # images of a suite's test part


@dataclass(frozen=True, kw_only=True)
class SearchedSuite:
    """A suite or holdout: a bridge is fitted on one part, and searches are made in the other."""

    name: str
    validation: EvalQuery | None
    test: EvalQuery | None


def images_to_fit(suites: Iterable[SearchedSuite]) -> tuple[ManifestEntry, ...]:
    """Return the images of validation parts that are in no test part, each once."""
    suites = tuple(suites)
    tested = {entry.pixels for suite in suites if suite.test for entry in suite.test.entries}
    found = {
        entry.pixels: entry
        for suite in suites
        if suite.validation
        for entry in suite.validation.entries
        if entry.pixels not in tested
    }
    return tuple(found.values())


def require_searchable(suites: Iterable[SearchedSuite]) -> None:
    """Raise SuitesTooSmall unless a bridge can be fitted, and searched with, on the suites."""
    suites = tuple(suites)
    fitted = len(images_to_fit(suites))
    searched = max((len(suite.test.entries) for suite in suites if suite.test), default=0)
    if fitted < LEAST_FITTED or searched < LEAST_SEARCHED:
        raise SuitesTooSmall(
            f"A bridge is fitted on at least {LEAST_FITTED} images of the validation parts of "
            f"suites and holdouts, where there are {fitted}, and needs one with {LEAST_SEARCHED} "
            f"test images, where the largest has {searched}.",
            validation_images=fitted,
            test_images=searched,
        )


# The report.


@dataclass(frozen=True, kw_only=True)
class IndexReport:
    """The verdict on an index of a baseline's vectors that a version searches."""

    model: ModelId
    version: int
    baseline: int
    report: Digest  # artifact
    bridge: Digest  # artifact
    sources: tuple[str, ...]  # suites and dataset versions whose images it is based on
    job: JobId
    created_at: datetime


def source_of(dataset: DatasetRef) -> str:
    """Return how a report names a dataset version that it is based on; a suite is its id."""
    return f"{dataset.dataset}:{dataset.version}"
