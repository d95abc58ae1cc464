"""A comparison of Tango's interval with others: exact error of each one-sided bound, and width."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration.exact_rates import Counts, counts, images_needed, verdict_rates
from benchmarks.calibration.intervals import INTERVALS, STATISTICS, bootstrap
from core.domain.gate.intervals import ALPHA, quantile

SIZES = (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
LOSSES = (0.0, 0.01, 0.03, 0.05, 0.06)  # true losses
CHURNS = (0.02, 0.05, 0.1, 0.2, 0.3)  # besides the smallest that causes the loss: no gains at all
RESAMPLED = (5, 20, 100, 500)  # sizes at which the bootstrap is measured too
TABLES = 200  # tables drawn for each rate of the bootstrap


Mask = NDArray[np.bool_]


def situations() -> list[tuple[float, float]]:
    """Return (loss, churn) for every true loss with every churn that can cause it."""
    return [
        (loss, churn)
        for loss in LOSSES
        for churn in sorted({loss, *CHURNS})
        if churn >= max(loss, 0.01)
    ]


def intervals_table(rng: np.random.Generator, alpha: float = ALPHA) -> Iterator[dict[str, Any]]:
    """Yield a row for each interval and size.

    Columns "too high" and "too low" are percentages, nominally 100 alpha: how often the lower
    bound lies above the truth, so that a loss at the tolerance would pass, and how often the
    upper bound lies below it, so that the loss would fail.
    """
    z = quantile(alpha)
    tables = {n: [(loss, _at(n, loss, churn)) for loss, churn in situations()] for n in SIZES}
    for name, interval in INTERVALS.items():
        for n in SIZES:
            high, low = [], []
            for loss, table in tables[n]:
                above, below = _misses(name, table, -loss, z)
                high.append(100 * float(table.weight[above].sum()))
                low.append(100 * float(table.weight[below].sum()))
            lower, upper = interval(n, n / 20, n / 20, z)
            yield _row(name, n, high, low) | {
                "no flips: from": round(100 * float(interval(n, 0, 0, z)[0]), 2),
                "width at 10 % churn": round(100 * float(upper - lower), 2),
            }
    for n in RESAMPLED:
        high, low = [], []
        for loss, table in tables[n]:
            chosen = rng.choice(len(table.weight), TABLES, p=table.weight / table.weight.sum())
            kinds, times = np.unique(chosen, return_counts=True)
            found = np.array(
                [bootstrap(n, int(table.gained[i]), int(table.lost[i]), alpha, rng) for i in kinds]
            )
            high.append(100 * float(times[found[:, 0] > -loss + 1e-12].sum()) / TABLES)
            low.append(100 * float(times[found[:, 1] < -loss - 1e-12].sum()) / TABLES)
        yield _row("bootstrap", n, high, low) | {
            "no flips: from": 0.0,
            "width at 10 % churn": "",
        }


def _at(n: int, loss: float, churn: float) -> Counts:
    return counts(n, (churn - loss) / 2, (churn + loss) / 2)


def _misses(name: str, table: Counts, truth: float, z: float) -> tuple[Mask, Mask]:
    """Return two masks over a table's cells: lower bound above the truth, upper bound below it.

    A score interval's lower bound lies above a difference exactly when the score there is more
    than z, so no interval needs to be computed.
    """
    if name in STATISTICS:
        score = STATISTICS[name](table.n, table.gained, table.lost, truth)
        return score > z, score < -z
    lower, upper = INTERVALS[name](table.n, table.gained, table.lost, z)
    return lower > truth + 1e-12, upper < truth - 1e-12


def _row(name: str, n: int, high: list[float], low: list[float]) -> dict[str, Any]:
    return {
        "interval": name,
        "images": n,
        "too high %": round(float(np.mean(high)), 2),
        "worst too high %": round(max(high), 2),
        "too low %": round(float(np.mean(low)), 2),
        "worst too low %": round(max(low), 2),
    }


def firm_table(tolerance: float = 0.03, alpha: float = ALPHA) -> Iterator[dict[str, Any]]:
    """Yield rows with the images that one measure needs for a firm verdict with 80 and 90 % power.

    Distances are between the true loss and the tolerance, in points; "holds" is for losses inside
    it, "fails" for losses beyond. Holm's first step divides by two: the measure and the gain.
    """
    for churn in CHURNS:
        for distance in (0.01, 0.02, 0.03, 0.04, 0.05):
            row: dict[str, Any] = {"churn %": 100 * churn, "distance": round(100 * distance)}
            for side, sign in (("holds", 1), ("fails", -1)):
                for power in (0.8, 0.9):
                    found = images_needed(
                        power,
                        churn=churn,
                        difference=sign * distance - tolerance,
                        tolerance=tolerance,
                        alpha=alpha,
                        tests=2,
                    )
                    row[f"{side} {power:.0%}"] = found or "-"
            yield row


def harmless_table(alpha: float = ALPHA) -> Iterator[dict[str, Any]]:
    """Yield rows with the percentage of updates without forgetting for which a measure holds."""
    for tolerance in (0.03, 0.05):
        for churn in (0.02, 0.05, 0.1, 0.2):
            row: dict[str, Any] = {"tolerance": 100 * tolerance, "churn %": 100 * churn}
            for n in (200, 300, 500, 750, 1000, 1500, 2000):
                holds, _ = verdict_rates(
                    n, churn=churn, difference=0, tolerance=tolerance, alpha=alpha, tests=2
                )
                row[f"{n}"] = round(100 * holds)
            yield row


def corners_table(alpha: float = ALPHA) -> Iterator[dict[str, Any]]:
    """Yield rows with the gate's worst exact errors in percent, with Holm's correction for two.

    The cases are a guarded measure with its true loss as tolerance, and the gain of an update
    that gained nothing, over all shares of flips.
    """
    nothing = [(0.0, churn) for churn in (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)]
    large = (*range(100, 1000, 37), 1000, 1500, 2000, 3000)
    for name, sizes, cases in (
        ("a loss at its tolerance", large, situations()),
        ("a gain of nothing", range(5, 200, 3), nothing),
    ):
        for column, verdict in enumerate(("passes", "fails")):
            yield {"case": name, "wrongly": verdict} | max(
                (
                    {
                        "worst %": round(
                            100
                            * verdict_rates(
                                n,
                                churn=churn,
                                difference=-loss,
                                tolerance=loss,
                                alpha=alpha,
                                tests=2,
                            )[column],
                            2,
                        ),
                        "images": n,
                        "loss": 100 * loss,
                        "churn %": 100 * churn,
                    }
                    for n in sizes
                    for loss, churn in cases
                ),
                key=lambda row: row["worst %"],
            )
