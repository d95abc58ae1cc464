"""Tests of a mean by betting, which stay valid however often one looks.

Source: I. Waudby-Smith and A. Ramdas, Estimating means of bounded random variables by betting,
Journal of the Royal Statistical Society B 86 (2024) 1-27, arXiv 2010.09686. Whoever claims that the
mean of values in [0, 1] is at most m offers fair bets: a stake u of one's capital becomes
u y / m after the value y. If the claim is true, the capital is a non-negative supermartingale, so
by Ville's inequality it ever reaches 1 / alpha with probability at most alpha. The claim is
rejected once it does.

The capital here is the mean over several players, each of whom always bets the same share. So it
depends on how often each value came, and not on the order: processes may count apart and add up.
"""

from collections.abc import Callable, Mapping
from math import exp, log

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
