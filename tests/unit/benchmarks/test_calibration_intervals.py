"""Intervals of the gate's calibration study."""

import numpy as np
import pytest

from benchmarks.calibration.rates import (
    INTERVALS,
    STATISTICS,
    bootstrap,
    newcombe,
    skewness_corrected,
    tango_score,
)
from core.gate.measures import Flips, corrected_score, paired_interval, quantile, score

Z95 = 1.959964


@pytest.mark.parametrize(
    ("name", "lower", "upper"),
    [
        # Bentur et al. 2009 as worked in Fagerland, Lydersen and Laake, Statistics in Medicine
        # 33 (2014) 2850-2875: 1 and 12 unchanged, 1 gained, 7 lost; 95 %.
        ("Tango", -0.517, -0.026),
        ("Agresti-Min", -0.493, -0.029),
        ("Wald", -0.520, -0.052),
    ],
)
def test_intervals_agree_with_a_published_example(name: str, lower: float, upper: float) -> None:
    found = INTERVALS[name](21, 1, 7, Z95)
    assert np.round(found, 3) == pytest.approx([lower, upper])


def test_newcombes_interval_agrees_with_a_published_example() -> None:
    assert np.round(newcombe(21, 1, 7, Z95, right=1), 3) == pytest.approx([-0.507, -0.026])


@pytest.mark.parametrize("at", [-0.06, -0.03, 0.0, 0.2])
def test_scores_over_arrays_are_the_gates_own(at: float) -> None:
    rng = np.random.default_rng(2)
    gained, lost = rng.integers(0, 30, size=50), rng.integers(0, 30, size=50)
    found = tango_score(100, gained, lost, at)
    corrected = skewness_corrected(100, gained, lost, at)
    for i, (g, left) in enumerate(zip(gained.tolist(), lost.tolist(), strict=True)):
        flips = Flips(count=100, gained=g, lost=left)
        assert found[i] == pytest.approx(score(flips, at))
        assert corrected[i] == pytest.approx(corrected_score(flips, at), abs=1e-9)


def test_tangos_bounds_over_arrays_are_the_gates_own() -> None:
    lower, upper = INTERVALS["Tango"](500, [3, 20], [9, 20], quantile(0.005))
    for i, (gained, lost) in enumerate(((3, 9), (20, 20))):
        own = paired_interval(Flips(count=500, gained=gained, lost=lost))
        assert (lower[i], upper[i]) == pytest.approx((own.lower, own.upper))


def test_skewness_correction_solves_its_equation_and_vanishes_without_skewness() -> None:
    n, gained, lost, at = 300, 4, 15, -0.05
    z = float(STATISTICS["skewness-corrected"](n, gained, lost, at))
    plain = float(tango_score(n, gained, lost, at))
    rate = 0.5 * (n * ((gained - lost) / n - at) / plain) ** 2 / n - at * (1 - at) / 2
    flips = 2 * rate + at
    skew = (at - 3 * at * flips + 2 * at**3) / (np.sqrt(n) * (flips - at * at) ** 1.5)
    assert z + skew / 6 * (z * z - 1) == pytest.approx(plain)
    even = STATISTICS["skewness-corrected"](n, gained, lost, 0.0)
    assert float(even) == pytest.approx(float(tango_score(n, gained, lost, 0.0)))


def test_only_scores_keep_a_width_when_nothing_flips() -> None:
    for name, interval in INTERVALS.items():
        lower, upper = interval(50, 0, 0, quantile(0.005))
        assert (upper - lower > 0) == (name != "Wald")
    assert bootstrap(50, 0, 0, 0.005, np.random.default_rng(0)) == (0.0, 0.0)
