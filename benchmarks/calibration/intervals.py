"""Vectorised intervals of a paired difference, to be compared with Tango's.

Every function takes arrays (or numbers) of images, gains and losses; `z` is the normal quantile of
each one-sided bound. `tango_score` and `skewness_corrected` are the vectorised `score` and
`corrected_score` of `core.domain.gate.intervals`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Bounds = tuple[Numbers, Numbers]  # lower, upper
Statistic = Callable[[Any, Any, Any, Any], Numbers]
_HALVINGS = 50


def tango_score(n: Any, gained: Any, lost: Any, at: Any) -> Numbers:
    """Return the distance of the observed difference from `at` in standard deviations."""
    return _score(n, gained, lost, at)[0]


def skewness_corrected(n: Any, gained: Any, lost: Any, at: Any) -> Numbers:
    """Return Tango's score, corrected for the skewness of the difference.

    It is the z that solves z + skew / 6 (z^2 - 1) = score, with the third moment of a paired
    difference. Source: P. J. Laud, Pharmaceutical Statistics 16 (2017) 334-348.
    """
    score, rate, variance = _score(n, gained, lost, at)
    flips = 2 * rate + at  # the restricted share of flips: losses q, gains q + at
    third = np.asarray(n, float) * (at - 3 * at * flips + 2 * np.power(at, 3))
    sixth = third / np.maximum(variance, 1e-12) ** 1.5 / 6
    root = 1 + 4 * sixth * (score + sixth)
    curved = (np.sqrt(np.maximum(root, 0)) - 1) / np.where(sixth == 0, 1, 2 * sixth)
    return np.where(np.abs(sixth) < 1e-12, score, curved)


def _score(n: Any, gained: Any, lost: Any, at: Any) -> tuple[Numbers, Numbers, Numbers]:
    n, gained, lost = (np.asarray(given, float) for given in (n, gained, lost))
    b = (2 * n - gained + lost) * at - gained - lost
    c = -lost * at * (1 - at)
    rate = (np.sqrt(np.maximum(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    variance = np.maximum(0.0, n * (2 * rate + at * (1 - at)))
    distance = gained - lost - n * at
    distance = np.where(np.abs(distance) < 1e-12, 0.0, distance)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.where(distance == 0, 0.0, distance / np.sqrt(variance))
    return score, rate, variance


def tango(n: Any, gained: Any, lost: Any, z: float) -> Bounds:
    """Return Tango's score interval (1998)."""
    return _inverted(tango_score, n, gained, lost, z)


def corrected(n: Any, gained: Any, lost: Any, z: float) -> Bounds:
    """Return the interval of the skewness-corrected score."""
    return _inverted(skewness_corrected, n, gained, lost, z)


def wald(n: Any, gained: Any, lost: Any, z: float) -> Bounds:
    """Return the textbook interval: the difference ± z times its estimated standard error."""
    n, gained, lost = (np.asarray(given, float) for given in (n, gained, lost))
    difference = (gained - lost) / n
    reach = z * np.sqrt(np.maximum(0.0, gained + lost - n * difference**2)) / n
    return difference - reach, difference + reach


def agresti_min(n: Any, gained: Any, lost: Any, z: float) -> Bounds:
    """Return Wald's interval after adding half an observation to each of the four cells.

    Source: A. Agresti and Y. Min, Statistics in Medicine 24 (2005) 729-740.
    """
    lower, upper = wald(np.asarray(n) + 2, np.asarray(gained) + 0.5, np.asarray(lost) + 0.5, z)
    return np.maximum(lower, -1), np.minimum(upper, 1)


def newcombe(n: Any, gained: Any, lost: Any, z: float, *, right: Any = None) -> Bounds:
    """Return Newcombe's interval, from Wilson's of both accuracies and their correlation.

    `right` is the number of images that both versions answer right, by default half of those that
    do not flip. Source: R. G. Newcombe, Statistics in Medicine 17 (1998) 2635-2650, method 10.
    """
    n, gained, lost = (np.asarray(given, float) for given in (n, gained, lost))
    both = (n - gained - lost) / 2 if right is None else np.asarray(right, float)
    neither = n - gained - lost - both
    now, before = both + gained, both + lost
    (low_1, high_1), (low_2, high_2) = _wilson(now, n, z), _wilson(before, n, z)
    excess = both * neither - gained * lost
    excess = np.where(excess > 0, np.maximum(excess - n / 2, 0), excess)
    margins = np.sqrt(now * (n - now) * before * (n - before))
    phi = np.where(margins > 0, excess / np.where(margins > 0, margins, 1), 0.0)
    p_1, p_2 = now / n, before / n

    def reach(left: Numbers, right: Numbers) -> Numbers:
        squared: Numbers = left**2 - 2 * phi * left * right + right**2
        return np.sqrt(squared)  # never negative: phi lies between -1 and 1

    difference = p_1 - p_2
    return (
        difference - reach(p_1 - low_1, high_2 - p_2),
        difference + reach(high_1 - p_1, p_2 - low_2),
    )


def bootstrap(
    n: int, gained: int, lost: int, alpha: float, rng: np.random.Generator, resamples: int = 2000
) -> tuple[float, float]:
    """Return the percentile interval of the difference over resampled images."""
    shares = [gained / n, lost / n, max(0.0, 1 - (gained + lost) / n)]
    drawn = rng.multinomial(n, shares, size=resamples)
    lower, upper = np.quantile((drawn[:, 0] - drawn[:, 1]) / n, [alpha, 1 - alpha])
    return float(lower), float(upper)


INTERVALS: dict[str, Callable[[Any, Any, Any, float], Bounds]] = {
    "Tango": tango,
    "skewness-corrected": corrected,
    "Newcombe 10": newcombe,
    "Agresti-Min": agresti_min,
    "Wald": wald,
}
STATISTICS: dict[str, Statistic] = {
    "Tango": tango_score,
    "skewness-corrected": skewness_corrected,
}


def _wilson(hits: Numbers, n: Numbers, z: float) -> Bounds:
    rate, spread = hits / n, z * z / n
    centre = rate + spread / 2
    reach = z * np.sqrt((rate * (1 - rate) + spread / 4) / n)
    return (centre - reach) / (1 + spread), (centre + reach) / (1 + spread)


def _inverted(
    statistic: Callable[..., Numbers], n: Any, gained: Any, lost: Any, z: float
) -> Bounds:
    """Return the differences that are z standard deviations from the observed one."""
    n, gained, lost = np.broadcast_arrays(*(np.asarray(x, float) for x in (n, gained, lost)))

    def lower(up: Numbers, down: Numbers) -> Numbers:
        left: Numbers = np.full(n.shape, -1.0)
        right: Numbers = (up - down) / n
        for _ in range(_HALVINGS):
            middle = (left + right) / 2
            beyond = statistic(n, up, down, middle) > z
            left, right = np.where(beyond, middle, left), np.where(beyond, right, middle)
        return right

    return lower(gained, lost), -lower(lost, gained)
