"""Formulas of the second gate: a paired difference of n pairs, b gained and c lost.

Sources: Tango (1998), Laud (2017), Obuchowski (1998).
"""

from collections.abc import Sequence
from math import copysign, inf, sqrt

import numpy as np
from scipy.special import ndtr, ndtri


def losing_rate(n: float, b: float, c: float, delta: float) -> float:
    """The most likely rate of losses if the difference is delta (Tango, equation 4)."""
    linear = (2 * n - b + c) * delta - b - c
    return (sqrt(max(0.0, linear**2 + 8 * n * c * delta * (1 - delta))) - linear) / (4 * n)


def spread(n: float, b: float, c: float, delta: float) -> float:
    """The standard deviation of b - c if the difference is delta."""
    rate = losing_rate(n, b, c, delta)
    return sqrt(max(0.0, n * (2 * rate + delta * (1 - delta))))


def bound(n: float, b: float, c: float, z: float) -> float:
    """The difference from which b - c lies z standard deviations upwards."""

    from scipy.optimize import brentq  # which every process of the suite would need

    def beyond(delta: float) -> float:
        return b - c - n * delta - z * spread(n, b, c, delta)

    seen = (b - c) / n
    low, high = (-1.0, seen - 1e-13) if z > 0 else (seen + 1e-13, 1.0)  # `seen` solves it trivially
    if z <= 0 and b == c == 0:
        return 0.0  # nothing was seen to change, and less than that is not asked
    if z == 0 or beyond(high) > 0:
        return seen if z >= 0 else 1.0
    if beyond(low) <= 0:
        return low if z > 0 else seen
    return float(brentq(beyond, low, high, xtol=1e-15, rtol=1e-14, maxiter=500))


def p_value(n: float, b: float, c: float, delta: float) -> float:
    """The p-value of "the difference is at least delta", with Laud's correction for skewness."""
    distance, deviation = b - c - n * delta, spread(n, b, c, delta)
    if abs(distance) < 1e-12:
        plain = 0.0
    else:
        plain = distance / deviation if deviation else copysign(inf, distance)
    if not deviation or abs(plain) == inf:
        return float(ndtr(plain))
    flipping = 2 * losing_rate(n, b, c, delta) + delta
    sixth = n * delta * (1 - 3 * flipping + 2 * delta**2) / deviation**3 / 6
    if abs(sixth) < 1e-12:
        return float(ndtr(plain))
    z = (sqrt(max(0.0, 1 + 4 * sixth * (plain + sixth))) - 1) / (2 * sixth)
    return float(ndtr(z))


def effect(changes: Sequence[float], groups: Sequence[str], prior: float) -> float:
    """The variance of changes in groups, by that of independent whole ones.

    So many flips of the worst case are added, in which all of a group flip together.
    """
    clusters: dict[str, list[float]] = {}
    for change, group in zip(changes, groups, strict=True):
        clusters.setdefault(group, []).append(change)
    n = len(changes)
    mean = sum(changes) / n
    between = sum((sum(each) - len(each) * mean) ** 2 for each in clusters.values())
    alone = sum(map(abs, changes)) - n * mean**2
    worst = sum(len(each) ** 2 for each in clusters.values()) / n
    return (between + prior * worst) / (alone + prior)


def surely_worse(own: Sequence[float], soft: Sequence[float], groups: Sequence[str]) -> bool:
    """True if images change for the worse beyond their soft hits, at one-sided 5 %."""
    gaps: dict[str, float] = {}
    for one, other, group in zip(own, soft, groups, strict=True):
        gaps[group] = gaps.get(group, 0.0) + other - one
    squares = sum(gap * gap for gap in gaps.values())
    return squares > 0 and sum(gaps.values()) > -ndtri(0.05) * sqrt(squares)


def class_p(n: int, gained: int, lost: int, limit: float) -> float:
    """The chance of such a loss at the limit: of few images, for independent versions."""
    if lost - gained <= limit * n:
        return 1.0
    if n > 60:
        return p_value(n, gained, lost, -limit)
    from scipy.stats import binom

    before = np.arange(n + 1)
    after = before - (lost - gained)
    shares = [limit + (1 - limit) * step / 20 for step in range(21)]
    chances = (binom.pmf(before, n, at) @ binom.cdf(after, n, at - limit) for at in shares)
    return float(max(chances))
