"""Exact error rates and power, as sums over the trinomial distribution of the counts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

from benchmarks.calibration.intervals import skewness_corrected, tango_score
from core.domain.gate.intervals import quantile

_REACH = 5.5  # standard deviations, beyond which the probability is less than 1e-7


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Possible counts of a suite of n images, with their probabilities."""

    n: int
    gained: NDArray[np.int64]
    lost: NDArray[np.int64]
    weight: NDArray[np.float64]


def counts(n: int, gain: float, loss: float) -> Counts:
    """Return the likely counts of n images that turn right at rate `gain`, wrong at rate `loss`."""
    gained, lost = np.meshgrid(_likely(n, gain), _likely(n, loss), indexing="ij")
    keep = gained + lost <= n
    gained, lost = gained[keep], lost[keep]
    rest = n - gained - lost
    log = gammaln(n + 1) - gammaln(gained + 1) - gammaln(lost + 1) - gammaln(rest + 1)
    log += xlogy(gained, gain) + xlogy(lost, loss) + xlogy(rest, max(0.0, 1 - gain - loss))
    return Counts(n=n, gained=gained, lost=lost, weight=np.exp(log))


def _likely(n: int, rate: float) -> NDArray[np.int64]:
    reach = _REACH * np.sqrt(n * rate * (1 - rate)) + (20 if rate else 0)
    return np.arange(max(0, int(n * rate - reach)), min(n, int(n * rate + reach) + 1) + 1)


def verdict_rates(
    n: int, *, churn: float, difference: float, tolerance: float, alpha: float, tests: int
) -> tuple[float, float]:
    """Return (P(holds), P(fails)) of one measure; Holm's first step divides by `tests`."""
    table = counts(n, max(0.0, churn + difference) / 2, max(0.0, churn - difference) / 2)
    counted = (n, table.gained, table.lost, -tolerance)
    holds = table.weight[tango_score(*counted) >= quantile(alpha)].sum()
    fails = table.weight[skewness_corrected(*counted) < -quantile(alpha / tests)].sum()
    return float(holds), float(fails)


def images_needed(
    power: float, *, churn: float, difference: float, tolerance: float, alpha: float, tests: int
) -> int | None:
    """Return how many images a measure needs to hold (beyond its tolerance: fail) with this power.

    The result is accurate to 1 %; the search starts from the normal approximation. None where
    `churn` is too small for the difference.
    """
    if churn < abs(difference) - 1e-9:
        return None
    side = 0 if difference > -tolerance else 1

    def enough(n: int) -> bool:
        rates = verdict_rates(
            n,
            churn=churn,
            difference=difference,
            tolerance=tolerance,
            alpha=alpha,
            tests=tests,
        )
        return rates[side] >= power

    z = quantile(alpha if side == 0 else alpha / tests) + quantile(1 - power)
    spread = churn - difference**2
    rough = max(8, round(z * z * spread / (difference + tolerance) ** 2))
    low, high = rough * 3 // 4, rough
    while enough(low):
        low = low * 3 // 4
    while not enough(high):
        low, high = high, high * 5 // 4
    while high - low > max(1, low // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
