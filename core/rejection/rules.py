"""Thresholds below which a score says "none of these classes", and their error rates."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from math import floor, log
from typing import Any

from core.errors import FieldInvalid, NotCalibrated
from core.gate.intervals import proportion_interval
from core.recipes.fields import PromptTemplate
from core.values import Json, from_plain

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
    images: int  # each has one score


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
        return from_plain(cls, value)


# The choice of thresholds on validation images, and their error rates on test images.

MIN_IMAGES = 10  # in each part
TAIL = 0.025  # on each side of an interval


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The values of a statistic for images, one each.

    `known` are images of a class of the list, `unknown` of none. Each image is both, with
    different lists.
    """

    known: Sequence[float] = ()
    unknown: Sequence[float] = ()


@dataclass(frozen=True, kw_only=True)
class Observed:
    """The scores of images for class lists of one length."""

    scores: Mapping[Statistic, Scores]

    @property
    def images(self) -> int:
        """The number of images."""
        return len(self.scores[Statistic.MAX_COSINE].known)

    def __add__(self, other: "Observed") -> "Observed":
        return Observed(
            scores={
                statistic: Scores(
                    known=[*scores.known, *other.scores[statistic].known],
                    unknown=[*scores.unknown, *other.scores[statistic].unknown],
                )
                for statistic, scores in self.scores.items()
            }
        )


def calibrate(size: int, validation: Observed, test: Observed) -> ListCalibration | None:
    """Return the calibration for lists of `size` classes, or None if there are too few images."""
    if min(validation.images, test.images) < MIN_IMAGES:
        return None
    aurocs = {statistic: auroc(scores) for statistic, scores in validation.scores.items()}
    statistic = max(aurocs, key=lambda one: aurocs[one])  # of equal ones the first
    known = sorted(validation.scores[statistic].known)
    measured = test.scores[statistic]
    thresholds = ((rate, _greatest_threshold(known, rate)) for rate in RATES)
    return ListCalibration(
        size=size,
        statistic=statistic,
        auroc=auroc(measured),
        thresholds=tuple(
            Threshold(
                rate=rate,
                threshold=threshold,
                false_rejection=_rate([score < threshold for score in measured.known]),
                false_acceptance=_rate([score >= threshold for score in measured.unknown]),
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


def _greatest_threshold(known: Sequence[float], rate: float) -> float | None:
    """Return the greatest threshold below which a new known image is with at most this chance.

    With n images it is the floor(rate (n + 1))-th least score: split conformal prediction
    (Angelopoulos and Bates, arXiv 2107.07511, section 1). None if n is too small.
    """
    allowed = floor(rate * (len(known) + 1) + 1e-9)
    return known[allowed - 1] if allowed else None


def _rate(wrong: Sequence[bool]) -> ErrorRate:
    """Return the share that is wrong with its interval."""
    count, images = sum(wrong), len(wrong)
    interval = proportion_interval(count, images, TAIL)
    return ErrorRate(rate=count / images, lower=interval.lower, upper=interval.upper, images=images)


# The choice of the calibration that fits a request to classify.

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
