"""Confidence sequences of the difference between the accuracies of two versions.

A confidence sequence is an interval at each moment, such that with probability `CONFIDENCE` all of
them, from the first label to the last, hold the true difference. So one may look at any time and
stop when one likes. Both bounds have half of the error. They follow from counts alone: see
`core.domain.trials.betting`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log

from core.domain.gate.intervals import Interval
from core.domain.trials.betting import (
    Values,
    always_reaches,
    last_true,
    log_capital,
    mirrored,
)

CONFIDENCE = 0.95
LIMIT = log(2 / (1 - CONFIDENCE))  # of the log of the capital: each bound has half of the error


@dataclass(frozen=True, kw_only=True)
class Hits:
    """The number of a version's labelled answers, and of those that are right."""

    labelled: int = 0
    right: int = 0

    @property
    def accuracy(self) -> float | None:
        """The share that is right, None without a label."""
        return self.right / self.labelled if self.labelled else None

    @property
    def values(self) -> Values:
        """The answers as numbers: 1 if right, otherwise 0."""
        return {1.0: self.right, 0.0: self.labelled - self.right}


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Labelled answers of two versions to the same images.

    `gained` of them only the second version has right, `lost` only the first.
    """

    labelled: int = 0
    gained: int = 0
    lost: int = 0

    @property
    def values(self) -> Values:
        """The differences second - first, moved from [-1, 1] to [0, 1]."""
        ties = self.labelled - self.gained - self.lost
        return {1.0: self.gained, 0.5: ties, 0.0: self.lost}


def paired_difference(pairs: Pairs) -> Interval:
    """Return the interval of the difference second - first, for answers to the same images.

    It is valid if the expected difference of each label, given those before, is the same. That
    zero is excluded is valid also if it varies without changing its sign.
    """
    values = pairs.values
    return Interval(
        lower=_lower(rejects_paired, values), upper=-_lower(rejects_paired, mirrored(values))
    )


def independent_difference(first: Hits, second: Hits) -> Interval:
    """Return the interval of the difference second - first, for answers to different images.

    It is valid if the accuracy of each version stays the same.
    """
    one, other = first.values, second.values
    return Interval(
        lower=_lower(rejects_independent, one, other),
        upper=-_lower(rejects_independent, other, one),
    )


def rejects_paired(values: Values, difference: float) -> bool:
    """Return whether pairs reject that the difference is at most this.

    Zero is rejected by discordant pairs alone, as by McNemar's test.
    """
    return log_capital(values, (1 + difference) / 2) >= LIMIT


def rejects_independent(first: Values, second: Values, difference: float) -> bool:
    """Return whether two versions' answers reject that second - first is at most this.

    They do if, whatever the accuracy p of the first version is, the capital won against "at least
    p" from the first and against "at most p + difference" from the second have a product that
    reaches the limit. Each label changes one of the two, so the product is a supermartingale.
    """
    losses = mirrored(first)

    def capital(accuracy: float) -> float:
        return log_capital(second, accuracy + difference) + log_capital(losses, 1 - accuracy)

    left, right = max(0.0, -difference), min(1.0, 1 - difference)
    return always_reaches(LIMIT, capital, left, right)


def _lower(rejects: Callable[..., bool], *values: Values) -> float:
    return last_true(lambda difference: rejects(*values, difference), -1.0, 1.0)
