"""Bets and confidence sequences: what labels prove at any time that one looks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import exp, log, log1p

from core.gate.intervals import Interval

# Tests of a mean by betting, which stay valid however often one looks.
#
# Source: I. Waudby-Smith and A. Ramdas, Estimating means of bounded random variables by betting,
# Journal of the Royal Statistical Society B 86 (2024) 1-27, arXiv 2010.09686. Whoever claims that
# the mean of values in [0, 1] is at most m offers bets: with a stake t the capital becomes
# (1 + t y) / (1 + t m) times as large after the value y. If the claim is true, the capital is a
# non-negative supermartingale, so by Ville's inequality it ever reaches 1 / alpha with probability
# at most alpha. The claim is rejected once it does.
#
# The capital here is the mean over several players, each of whom always has the same stake. So it
# depends on how often each value came, and not on the order: processes may count apart and add up.
# As no stake depends on m, m may be the mean of the values expected so far, where that moves:
# log(1 + t m) is concave, so the true capital is at least the one that is computed.

# Stakes from 4 down to 2^-9.5, two to each halving: small ones find small differences.
STAKES = tuple(2 ** (step / 2) for step in range(4, -20, -1))
_HALVINGS = 40
_SECTIONS = 24
_GOLDEN = 0.6180339887498949

Values = Mapping[float, int]  # how often each value in [0, 1] came


def log_capital(values: Values, mean: float) -> float:
    """Return the log of the capital won against the claim that the mean is at most `mean`.

    It falls as `mean` rises, and is a convex function of it.
    """
    came = [(value, count) for value, count in values.items() if count]
    total = sum(count for _, count in came)
    logs = [
        sum(count * log1p(stake * value) for value, count in came) - total * log1p(stake * mean)
        for stake in STAKES
    ]
    most = max(logs)
    return most + log(sum(exp(one - most) for one in logs) / len(STAKES))


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
FOR_SHARE = 0.1  # of the error, where the share of disagreements is uncertain as well


def limit_of(part: float = 1.0) -> float:
    """Return the limit of the log of a capital that tests a bound with a part of the error."""
    return log(2 / (part * (1 - CONFIDENCE)))


LIMIT = limit_of()
SIGN_LIMIT, SHARE_LIMIT = limit_of(1 - FOR_SHARE), limit_of(FOR_SHARE)


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
    """Answers of two versions to the same images, some of which are labelled.

    Of the labelled disagreements `gained` are those that only the second version has right,
    `lost` those that only the first has.
    """

    agreed: int = 0
    disagreed: int = 0
    labelled: int = 0  # of those about which they disagree
    gained: int = 0
    lost: int = 0

    @property
    def share(self) -> float | None:
        """The share of disagreements, None without answers."""
        answered = self.agreed + self.disagreed
        return self.disagreed / answered if answered else None

    @property
    def difference(self) -> float | None:
        """The estimate of second - first; None until a disagreement has a label."""
        if self.share is None or not self.labelled:
            return None
        return self.share * (self.gained - self.lost) / self.labelled

    @property
    def disagreements(self) -> Values:
        """The answers as numbers: 1 if they disagree, otherwise 0."""
        return {1.0: self.disagreed, 0.0: self.agreed}

    @property
    def signs(self) -> Values:
        """The differences of labelled disagreements, moved from [-1, 1] to [0, 1]."""
        neither = self.labelled - self.gained - self.lost
        return {1.0: self.gained, 0.5: neither, 0.0: self.lost}


def paired_difference(pairs: Pairs) -> Interval:
    """Return the interval of the difference second - first, for answers to the same images.

    The difference is the share of disagreements times the mean difference among them: where the
    versions agree, it is zero whatever the label. The share follows from answers without labels. So
    labels of disagreements alone suffice, if it is chance which of them are labelled. Each part has
    an interval of its own; where the parts move, each holds its mean until then.

    Zero is excluded by labelled disagreements alone.
    """
    share = Interval(
        lower=_lower(pairs.disagreements, SHARE_LIMIT),
        upper=1 - _lower(mirrored(pairs.disagreements), SHARE_LIMIT),
    )
    low = 2 * _lower(pairs.signs, SIGN_LIMIT) - 1
    high = 1 - 2 * _lower(mirrored(pairs.signs), SIGN_LIMIT)
    return Interval(
        lower=low * (share.lower if low > 0 else share.upper),
        upper=high * (share.upper if high > 0 else share.lower),
    )


def independent_difference(first: Hits, second: Hits) -> Interval:
    """Return the interval of the difference second - first, for answers to different images.

    Where the versions' accuracies move, it is that of their means over the labels until then.
    """
    one, other = first.values, second.values

    def lower(first: Values, second: Values) -> float:
        return last_true(lambda least: rejects_independent(first, second, least), -1.0, 1.0)

    return Interval(lower=lower(one, other), upper=-lower(other, one))


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


def _lower(values: Values, limit: float) -> float:
    """Return the lower bound of a mean."""
    return last_true(lambda mean: log_capital(values, mean) >= limit, 0.0, 1.0)
