"""Choose thresholds on validation images, and measure their error rates on test images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import floor

from core.domain.gate.intervals import proportion_interval
from core.domain.rejection.calibration import (
    RATES,
    ErrorRate,
    ListCalibration,
    Statistic,
    Threshold,
)

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
    thresholds = ((rate, _threshold(known, validation.images, rate)) for rate in RATES)
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


def _threshold(known: Sequence[float], images: int, rate: float) -> float | None:
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
