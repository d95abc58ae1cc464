"""Bets and confidence sequences: what labels prove at any time that one looks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import exp, log

from core.gate.intervals import Interval

# Tests of a mean by betting, which stay valid however often one looks.
#
# Source: I. Waudby-Smith and A. Ramdas, Estimating means of bounded random variables by betting,
# Journal of the Royal Statistical Society B 86 (2024) 1-27, arXiv 2010.09686. Whoever claims that
# the mean of values in [0, 1] is at most m offers fair bets: a stake u of one's capital becomes u
# y / m after the value y. If the claim is true, the capital is a non-negative supermartingale, so
# by Ville's inequality it ever reaches 1 / alpha with probability at most alpha. The claim is
# rejected once it does.
#
# The capital here is the mean over several players, each of whom always bets the same share. So it
# depends on how often each value came, and not on the order: processes may count apart and add up.

# Shares from 0.71 down to 2^-12, two to each halving: small ones find small differences.
BETS = tuple(2 ** (-step / 2) for step in range(1, 25))
_LOST = tuple(log(1 - bet) for bet in BETS)  # what a bet loses by the value 0
_LEAST_MEAN = 1e-12
_HALVINGS = 22
_SECTIONS = 24
_GOLDEN = 0.6180339887498949

Values = Mapping[float, int]  # how often each value in [0, 1] came


def log_capital(values: Values, mean: float) -> float:
    """Return the log of the capital won against the claim that the mean is at most `mean`.

    It falls as `mean` rises, and is a convex function of it.
    """
    lowest = max(mean, _LEAST_MEAN)
    zeros = values.get(0.0, 0)
    others = [(value / lowest - 1, count) for value, count in values.items() if value and count]
    logs = [
        zeros * lost + sum(count * log(1 + bet * odds) for odds, count in others)
        for bet, lost in zip(BETS, _LOST, strict=True)
    ]
    most = max(logs)
    return most + log(sum(exp(one - most) for one in logs) / len(BETS))


def mirrored(values: Values) -> Values:
    """Return 1 - y for each value y, to test the claim that a mean is at least 1 - m."""
    return {1 - value: count for value, count in values.items()}


def last_true(claim: Callable[[float], bool], left: float, right: float) -> float:
    """Return where a claim that is true at `left` becomes false, or `right` if it does not."""
    if claim(right):
        return right
    for _ in range(_HALVINGS):
        middle = (left + right) / 2
        left, right = (middle, right) if claim(middle) else (left, middle)
    return left


def always_reaches(
    limit: float, convex: Callable[[float], float], left: float, right: float
) -> bool:
    """Return whether a convex function is at least `limit` everywhere between two places.

    Its least value is sought by golden section, until a lower one than `limit` is found.
    """
    inner, outer = right - _GOLDEN * (right - left), left + _GOLDEN * (right - left)
    at_inner, at_outer = convex(inner), convex(outer)
    for _ in range(_SECTIONS):
        if min(at_inner, at_outer) < limit:
            return False
        if at_inner < at_outer:
            right, outer, at_outer = outer, inner, at_inner
            inner = right - _GOLDEN * (right - left)
            at_inner = convex(inner)
        else:
            left, inner, at_inner = inner, outer, at_outer
            outer = left + _GOLDEN * (right - left)
            at_outer = convex(outer)
    return min(at_inner, at_outer) >= limit


# Confidence sequences of the difference between the accuracies of two versions.
#
# A confidence sequence is an interval at each moment, such that with probability `CONFIDENCE` all
# of them, from the first label to the last, hold the true difference. So one may look at any time
# and stop when one likes. Both bounds have half of the error. They follow from counts alone.

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
