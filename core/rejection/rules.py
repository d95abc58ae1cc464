"""When a score says that an image is none of the classes: calibrations."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cached_property
from math import floor, log
from typing import Any

from core.datasets.manifests import ManifestEntry, Part
from core.errors import FieldInvalid, NotCalibrated
from core.gate.measures import proportion_interval
from core.recipes.fields import PromptTemplate
from core.recipes.rules import distinct
from core.values import Digest, Json, ModelId, canonical_json, sha256

# Thresholds below which an image shows none of the given classes, with their error rates.


RATES = (0.01, 0.05, 0.1)  # false-rejection rates that thresholds are chosen for

DEFAULT_RATE = 0.05

LEARNED = "learned classes"  # the source of all updates' holdouts; no suite's name has a blank

POOLED = "all sources"


class Statistic(StrEnum):
    """A statistic to compare with a threshold; an image below it shows none of the classes.

    With c1 >= c2 >= ... the cosines of the image with the classes and s the model's logit scale:
    c1; the greatest softmax of s c (Ming et al., arXiv 2211.13445); c1 - c2.
    """

    MAX_COSINE = "max_cosine"
    MAX_SOFTMAX = "max_softmax"
    MARGIN = "margin"

    def of(self, cosines: Sequence[float], probability: float) -> float:
        """Return the value of an image: `cosines` are the greatest two, `probability` the first.

        A list of one class has one cosine, and only `max_cosine`.
        """
        match self:
            case Statistic.MAX_COSINE:
                return cosines[0]
            case Statistic.MAX_SOFTMAX:
                return probability
        return cosines[0] - cosines[1]


@dataclass(frozen=True, kw_only=True)
class ErrorRate:
    """A measured rate with its 95 % interval over images."""

    rate: float
    lower: float
    upper: float
    images: int  # distinct ones; each counts once for every class list


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A threshold chosen on validation images, and its error rates on test images."""

    rate: float  # the false-rejection rate that it was chosen for
    threshold: float
    false_rejection: ErrorRate  # images of a class of the list that are below
    false_acceptance: ErrorRate  # images of no class of the list that are not


@dataclass(frozen=True, kw_only=True)
class ListCalibration:
    """The calibration for class lists of one length."""

    size: int  # classes in a list
    statistic: Statistic  # the one with the greatest AUROC on validation images
    auroc: float  # on test images
    thresholds: tuple[Threshold, ...]


@dataclass(frozen=True, kw_only=True)
class SourceCalibration:
    """The calibration on a suite, on all updates' holdouts, or on all of these together."""

    name: str
    classes: tuple[str, ...]  # those the class lists are drawn from; none if it is pooled
    prompt: str | None
    lists: tuple[ListCalibration, ...]  # by length, shortest first


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A version's thresholds; without a source it had too few images."""

    sources: tuple[SourceCalibration, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON, for storage."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Json) -> "Calibration":
        """Return the calibration that `to_json` wrote."""
        return cls(sources=tuple(map(_source, value["sources"])))


def _source(value: Mapping[str, Any]) -> SourceCalibration:
    lists = tuple(map(_list, value["lists"]))
    return SourceCalibration(**{**value, "classes": tuple(value["classes"]), "lists": lists})


def _list(value: Mapping[str, Any]) -> ListCalibration:
    thresholds = tuple(map(_threshold, value["thresholds"]))
    statistic = Statistic(value["statistic"])
    return ListCalibration(**{**value, "statistic": statistic, "thresholds": thresholds})


def _threshold(value: Mapping[str, Any]) -> Threshold:
    measured = ("false_rejection", "false_acceptance")
    return Threshold(**{**value, **{name: ErrorRate(**value[name]) for name in measured}})


# Choose thresholds on validation images, and measure their error rates on test images.


MIN_IMAGES = 10  # in each part

TAIL = 0.025  # on each side of an interval


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The values of a statistic for images, each once for every class list.

    `known` are images of a class of the list, `unknown` of none. Each image is both, with
    different lists.
    """

    known: Sequence[float] = ()
    unknown: Sequence[float] = ()


@dataclass(frozen=True, kw_only=True)
class Observed:
    """The scores of images for class lists of one length."""

    scores: Mapping[Statistic, Scores] = field(default_factory=dict)
    images: int = 0  # distinct ones

    def __add__(self, other: "Observed") -> "Observed":
        return Observed(
            scores={
                statistic: Scores(
                    known=[*scores.known, *other.scores[statistic].known],
                    unknown=[*scores.unknown, *other.scores[statistic].unknown],
                )
                for statistic, scores in self.scores.items()
            },
            images=self.images + other.images,
        )


def calibrate(size: int, validation: Observed, test: Observed) -> ListCalibration | None:
    """Return the calibration for lists of `size` classes, or None if there are too few images."""
    if min(validation.images, test.images) < MIN_IMAGES:
        return None
    aurocs = {statistic: auroc(scores) for statistic, scores in validation.scores.items()}
    statistic = max(aurocs, key=lambda one: aurocs[one])  # of equal ones the first
    known = sorted(validation.scores[statistic].known)
    measured = test.scores[statistic]
    thresholds = ((rate, _calibrate_threshold(known, validation.images, rate)) for rate in RATES)
    return ListCalibration(
        size=size,
        statistic=statistic,
        auroc=auroc(measured),
        thresholds=tuple(
            Threshold(
                rate=rate,
                threshold=threshold,
                false_rejection=_rate(
                    sum(score < threshold for score in measured.known),
                    len(measured.known),
                    test.images,
                ),
                false_acceptance=_rate(
                    sum(score >= threshold for score in measured.unknown),
                    len(measured.unknown),
                    test.images,
                ),
            )
            for rate, threshold in thresholds
            if threshold is not None
        ),
    )


def auroc(scores: Scores) -> float:
    """Return the chance that a known image scores higher than an unknown one; ties count half.

    This is the Mann-Whitney U divided by the number of pairs.
    """
    kinds = (scores.unknown, scores.known)
    ranked = sorted((score, kind) for kind, found in enumerate(kinds) for score in found)
    wins, below, first = 0.0, 0, 0
    while first < len(ranked):
        last = first
        while last < len(ranked) and ranked[last][0] == ranked[first][0]:
            last += 1
        known = sum(kind for _, kind in ranked[first:last])
        unknown = last - first - known
        wins += known * (below + unknown / 2)
        below += unknown
        first = last
    return wins / (len(scores.known) * len(scores.unknown))


def _calibrate_threshold(known: Sequence[float], images: int, rate: float) -> float | None:
    """Return the greatest threshold below which a new known image is with at most this chance.

    With n images, each in one list, it is the floor(rate (n + 1))-th least score: split conformal
    prediction (Angelopoulos and Bates, arXiv 2107.07511, section 1). Images that are in several
    lists count once: the same share of all scores is taken. None if n is too small.
    """
    allowed = floor(rate * (images + 1) + 1e-9)
    if not allowed:
        return None
    return known[max(1, allowed * len(known) // images) - 1]


def _rate(errors: int, count: int, images: int) -> ErrorRate:
    """Return a share with its interval, as if all of an image's answers were one."""
    share = errors / count
    interval = proportion_interval(share * images, images, TAIL)
    return ErrorRate(rate=share, lower=interval.lower, upper=interval.upper, images=images)


# Choose the calibration that fits a request to classify.


FAR = 2.0  # times as many classes, or half as many, as the lists that were calibrated


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The threshold for a request, and where it comes from."""

    source: SourceCalibration
    covered: bool  # whether the source has the request's classes and prompt
    calibration: ListCalibration
    threshold: Threshold


def choose(
    calibration: Calibration, classes: Sequence[str], prompts: Sequence[str], rate: float
) -> Chosen:
    """Return the threshold for class lists as long as this one, at a false-rejection rate.

    `prompts` are those of the classes, one each, or several. The threshold is that of the first
    source that has all the classes, with the same prompt, or else of all sources together. Raises
    NotCalibrated, and FieldInvalid for a list or a rate that no threshold was chosen for.
    """
    if not calibration.sources:
        raise NotCalibrated(
            "The version's suites and holdouts had too few images for a threshold: each needs "
            "10 or more validation images and test images. Add images or a zero-shot suite, and "
            "evaluate the version again."
        )
    covering = (source for source in calibration.sources if _covers(source, classes, prompts))
    source = next(covering, None)
    covered = source is not None
    source = source or calibration.sources[-1]
    found = _nearest(source, len(classes))
    threshold = next((one for one in found.thresholds if one.rate == rate), None)
    if threshold is None:
        known = ", ".join(f"{one.rate:g}" for one in found.thresholds) or "none"
        raise FieldInvalid(
            f"No threshold was chosen for the false-rejection rate {rate:g}. For a list of "
            f"{len(classes):,} classes there are: {known}. A rate of 0.01 needs 99 validation "
            "images.",
            pointer="/none_of_these",
        )
    return Chosen(source=source, covered=covered, calibration=found, threshold=threshold)


def _covers(source: SourceCalibration, classes: Sequence[str], prompts: Sequence[str]) -> bool:
    if source.prompt is None:
        return False
    known = {name.lower() for name in source.classes}
    own = PromptTemplate(source.prompt).fill_all(classes)
    return own == tuple(prompts) and all(name.lower() in known for name in classes)


def _nearest(source: SourceCalibration, count: int) -> ListCalibration:
    found = min(source.lists, key=lambda one: abs(log(one.size / count)))
    if max(found.size / count, count / found.size) > FAR:
        sizes = [one.size for one in source.lists]
        raise FieldInvalid(
            f"The thresholds are for lists of {sizes[0]:,} to {sizes[-1]:,} classes; this one has "
            f"{count:,}.",
            pointer="/classes",
        )
    return found


# The queries of a version's calibration: images of known classes, and class lists.


MOST_IMAGES = 2000  # of a source and part: enough for an interval of 2 points

LISTS = 4  # of one length that an image is put to with its class, and as many without it

SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True, kw_only=True)
class CalibrationSource:
    """Images of classes that exclude each other, in both parts; every entry's is in `classes`."""

    name: str
    entries: tuple[ManifestEntry, ...]
    classes: tuple[str, ...]  # each once, whatever its case
    prompt: PromptTemplate

    def on(self, part: Part) -> tuple[ManifestEntry, ...]:
        """Return the images of one part."""
        return tuple(entry for entry in self.entries if entry.part is part)


@dataclass(frozen=True, kw_only=True)
class CalibrationQuery:
    """A query for the thresholds below which images show none of the given classes."""

    sources: tuple[CalibrationSource, ...]

    @property
    def entries(self) -> tuple[ManifestEntry, ...]:
        """The images of all sources."""
        return tuple(entry for source in self.sources for entry in source.entries)

    @cached_property
    def digest(self) -> Digest:
        """Identifies the query by images in order, classes and prompts."""
        rows = [
            [
                source.name,
                [[entry.pixels, entry.class_name] for entry in source.entries],
                list(source.classes),
                source.prompt.text,
            ]
            for source in self.sources
        ]
        return sha256(canonical_json(["calibration", rows]))


def newest_of_root(model: ModelId) -> Digest:
    """Return the key under which the newest calibration of a model's root is stored too.

    A root has no report. With this it keeps the thresholds that were measured last, whatever
    becomes of the suites. Models that were imported from the same weights have one each.
    """
    return sha256(canonical_json(["newest calibration of a root", model]))


def list_sizes(classes: int) -> tuple[int, ...]:
    """Return the lengths of class lists to calibrate, up to all classes but one."""
    longest = classes - 1
    return tuple(size for size in SIZES if size < longest) + ((longest,) if longest else ())


def circle_of(classes: Sequence[str]) -> tuple[int, ...]:
    """Return the places of classes in the order of their names' digests, which is random."""
    return tuple(
        sorted(range(len(classes)), key=lambda place: sha256(classes[place].lower().encode()))
    )


def list_starts(image: Digest, at: int, size: int, count: int) -> list[tuple[int, int]]:
    """Return where lists of one length start on a circle of `count` classes, `LISTS` of each kind.

    The image's own class stands at `at`. Of each pair, the first list has the class, and the
    second has not; all such lists are equally likely. A list goes on from its start, and over the
    end of the circle.
    """
    found = []
    for number in range(LISTS):
        drawn = int(sha256(f"{image} {size} {number}".encode())[:13], 16)
        within, without = drawn % size, drawn % (count - size)
        found.append(((at - within) % count, (at + 1 + without) % count))
    return found


# The sources of a calibration: images whose classes exclude each other.


def source_of(
    name: str, entries: Iterable[ManifestEntry], classes: Iterable[str], prompt: PromptTemplate
) -> CalibrationSource | None:
    """Return a source of up to `MOST_IMAGES` images in each part, or None if it has too few.

    Images of other classes are left out. Of an image that is there twice, the last counts.
    """
    known = distinct(classes)
    names = {one.lower() for one in known}
    by_pixels = {entry.pixels: entry for entry in entries if entry.class_name.lower() in names}
    images = [by_pixels[pixels] for pixels in sorted(by_pixels)]  # in an order that is random
    parts = [[entry for entry in images if entry.part is part] for part in Part]
    if len(known) < 2 or min(map(len, parts)) < MIN_IMAGES:
        return None
    return CalibrationSource(name=name, entries=tuple(_first(parts)), classes=known, prompt=prompt)


def _first(parts: Iterable[list[ManifestEntry]]) -> Iterator[ManifestEntry]:
    for part in parts:
        yield from part[:MOST_IMAGES]
