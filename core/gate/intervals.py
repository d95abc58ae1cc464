"""Confidence intervals of proportions and of paired differences of proportions.

All bounds are one-sided at error `alpha`; lower and upper together form a two-sided interval of
level 1 - 2 alpha. Score intervals keep a positive width when nothing flips, so that five unchanged
images do not count as proof.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from math import copysign, inf, isinf, sqrt
from statistics import NormalDist

ALPHA = 0.005
_HALVINGS = 60  # of an interval at most 2 wide, to less than 1e-17
_NORMAL = NormalDist()


@cache
def quantile(alpha: float) -> float:
    """Return the standard normal value that is exceeded with probability `alpha`, maybe 0."""
    if alpha == 0:
        return inf
    return -_NORMAL.inv_cdf(alpha)  # of 1 - alpha, nothing is left of a very small one


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A lower and an upper bound."""

    lower: float
    upper: float


@dataclass(frozen=True, kw_only=True)
class Flips:
    """Answers to one query by two versions, paired image by image.

    There are `count` pairs: `gained` of them are right only now, `lost` were right only before.
    Fractions are allowed: clustered answers count for less than one each, and an image of
    which more views are right than before is gained in part.
    """

    count: float
    gained: float
    lost: float

    @property
    def difference(self) -> float:
        """Accuracy now minus accuracy before."""
        return (self.gained - self.lost) / self.count

    def scaled(self, factor: float) -> "Flips":
        """Return `factor` times as many answers, which flip at the same rates."""
        return Flips(
            count=self.count * factor, gained=self.gained * factor, lost=self.lost * factor
        )


def _flipping(flips: Flips, at: float) -> float:
    """Return the share of answers that flip if the true difference is `at`.

    The nuisance parameter, the rate of losses, has its most likely value under that
    restriction: the larger root of 2n q^2 + B q + C = 0.
    """
    n, gained, lost = flips.count, flips.gained, flips.lost
    b = (2 * n - gained + lost) * at - gained - lost
    c = -lost * at * (1 - at)
    rate = (sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    return 2 * rate + at


def _deviation(flips: Flips, at: float) -> float:
    """Return the standard deviation of gained - lost if the true difference is `at`."""
    return sqrt(max(0.0, flips.count * (_flipping(flips, at) - at * at)))


def score(flips: Flips, at: float) -> float:
    """Return Tango's score: standard deviations from `at` to the observed difference."""
    distance = flips.gained - flips.lost - flips.count * at
    if abs(distance) < 1e-12:
        return 0.0
    deviation = _deviation(flips, at)
    return distance / deviation if deviation else float("inf") * distance


def score_deviation(flips: Flips, at: float) -> float:
    """Return the standard deviation of `score` if answers flip at the observed rates."""
    observed = flips.gained + flips.lost - flips.count * flips.difference**2
    return sqrt(max(0.0, observed)) / _deviation(flips, at)


def sixth_of_skewness(flips: Flips, at: float) -> float:
    """Return a sixth of the skewness of gained - lost if the true difference is `at`."""
    deviation = _deviation(flips, at)
    if not deviation:
        return 0.0
    third = flips.count * at * (1 - 3 * _flipping(flips, at) + 2 * at * at)
    return third / deviation**3 / 6


def corrected_score(flips: Flips, at: float) -> float:
    """Return Tango's score, corrected for the skewness of the difference.

    Source: P. J. Laud, Pharmaceutical Statistics 16 (2017) 334-348: the z that solves
    z + skewness / 6 (z^2 - 1) = score.
    """
    plain, sixth = score(flips, at), sixth_of_skewness(flips, at)
    if isinf(plain) or abs(sixth) < 1e-12:
        return plain
    return (sqrt(max(0.0, 1 + 4 * sixth * (plain + sixth))) - 1) / (2 * sixth)


def p_below(flips: Flips, at: float) -> float:
    """Return the one-sided p-value of "the true difference is at least `at`", at any size.

    Without the correction for skewness, measures with few images and no gain would fail too
    often, and more so the more such measures there are.
    """
    return _NORMAL.cdf(corrected_score(flips, at))


def score_bound(flips: Flips, z: float) -> float:
    """Return the difference from which the observed one lies z standard deviations upwards.

    A negative z gives a difference above the observed one.
    """
    left, right = -1.0, 1.0
    for _ in range(_HALVINGS):
        middle = (left + right) / 2
        distance = flips.gained - flips.lost - flips.count * middle
        if distance > z * _deviation(flips, middle):
            left = middle
        else:
            right = middle
    return right


@lru_cache(maxsize=10_000)  # the classes of a report share few counts, and pages ask for it again
def paired_interval(flips: Flips, alpha: float = ALPHA) -> Interval:
    """Return Tango's score interval of a paired difference.

    Source: T. Tango, Statistics in Medicine 17 (1998) 891-908. The bounds are the two
    differences from which the observed one lies exactly z standard deviations away.
    """
    z = quantile(alpha)
    mirrored = Flips(count=flips.count, gained=flips.lost, lost=flips.gained)
    return Interval(lower=score_bound(flips, z), upper=-score_bound(mirrored, z))


def proportion_interval(hits: float, count: int, alpha: float = ALPHA) -> Interval:
    """Return Wilson's score interval of a single proportion."""
    z = quantile(alpha)
    rate, spread = hits / count, z * z / count
    centre = rate + spread / 2
    reach = z * sqrt((rate * (1 - rate) + spread / 4) / count)
    return Interval(
        lower=max(0.0, (centre - reach) / (1 + spread)),
        upper=min(1.0, (centre + reach) / (1 + spread)),
    )


def design_effect(clusters: Iterable[Flips], alpha: float = ALPHA) -> float:
    """Return the factor by which clustering inflates the variance of a paired difference.

    It is at least 1, and exactly 1 for singletons. Each cluster holds the answers about an image
    with captions. The ratio of the variance between clusters
    (N. A. Obuchowski, Statistics in Medicine 17 (1998) 1495-1507) to that of independent answers is
    estimated after adding z^2 flips of the worst case, in which all answers of a cluster flip
    together. So few flips have little influence, and without any flip the clusters count, not their
    answers.
    """
    return max(1.0, _effect(clusters, quantile(alpha) ** 2))


def soft_effect(changes: Sequence[float], alpha: float = ALPHA) -> float:
    """Return the factor between the variance of soft flips and that of as many whole ones.

    Soft flips are the changes of soft hits, which the answers to an image and its views make up.
    They are at most one each, so the factor is at most 1. It is estimated as a design effect is,
    but with half as many flips of the worst case, and is exactly 1 if no answer changed. By
    `bench-gate`, the bounds of flips that are scaled by it keep their error.
    """
    soft = (Flips(count=1, gained=max(0.0, one), lost=max(0.0, -one)) for one in changes)
    return _effect(soft, quantile(alpha) ** 2 / 2)


def deficit(changes: Sequence[float]) -> float:
    """Return by how many standard errors changes that sum to a loss are below zero.

    The standard error is that of a mean of zero. 0 without any change.
    """
    deviation = sqrt(sum(change * change for change in changes))
    return -sum(changes) / deviation if deviation else 0.0


def errors_below(one: Flips, other: Flips) -> float:
    """Return by how many standard errors one difference is below that of other answers."""
    variance = sum(
        (flips.gained + flips.lost) / flips.count**2 - flips.difference**2 / flips.count
        for flips in (one, other)
    )
    distance = other.difference - one.difference
    if variance <= 0:
        return copysign(inf, distance) if distance else 0.0
    return distance / sqrt(variance)


def _effect(clusters: Iterable[Flips], prior: float) -> float:
    members = list(clusters)
    total = sum(cluster.count for cluster in members)
    gained = sum(cluster.gained for cluster in members)
    lost = sum(cluster.lost for cluster in members)
    mean = (gained - lost) / total
    between = sum((c.gained - c.lost - c.count * mean) ** 2 for c in members)
    independent = gained + lost - total * mean * mean
    worst = sum(cluster.count**2 for cluster in members) / total
    return (between + prior * worst) / (independent + prior)
