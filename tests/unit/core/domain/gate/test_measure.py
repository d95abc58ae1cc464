"""A measure: two versions' answers to the same question, compared."""

from typing import Any

import pytest

from core.domain.gate.intervals import Flips, paired_interval
from core.domain.gate.measure import Measure, MeasureKind


def measure(now: list[bool], before: list[bool], **changes: Any) -> Measure:
    values: dict[str, Any] = {
        "name": "version 2",
        "baseline": "version 2",
        "baseline_version": 2,
        "tolerance": 0.05,
        "images": len(now),
        "alpha": 0.025,
    }
    return Measure.of(MeasureKind.HOLDOUT, now=now, before=before, **values | changes)


def test_measure_counts_flips_and_accuracies() -> None:
    now = [True] * 3 + [False] * 7 + [True] * 90
    before = [False] * 3 + [True] * 7 + [True] * 90
    found = measure(now, before)
    assert (found.right, found.right_before) == (93, 97)
    assert found.difference == pytest.approx(-0.04)
    assert found.lower < -0.04 < found.upper


def test_a_measure_keeps_what_it_was_made_of_and_its_own_error() -> None:
    flips = Flips(count=5, gained=2, lost=1)
    bounds = paired_interval(flips, 0.025)
    found = measure([True, True, False, True, False], [True, False, True, False, False])
    assert found == Measure(
        kind=MeasureKind.HOLDOUT,
        name="version 2",
        baseline="version 2",
        baseline_version=2,
        tolerance=0.05,
        images=5,
        count=5,
        right=3,
        right_before=2,
        gained=2,
        lost=1,
        design_effect=1.0,
        difference=0.2,
        lower=bounds.lower,
        upper=bounds.upper,
    )
    assert found.flips == flips
    assert bounds.lower > paired_interval(flips, 0.005).lower


def test_captions_of_one_image_count_for_less_than_one_each() -> None:
    still = measure([True] * 400, [True] * 400, images=100, design_effect=4.0)
    bound = 1.959964**2 / (100 + 1.959964**2)  # as of 100 answers none of which flips
    assert still.lower == pytest.approx(-bound, abs=1e-6)
    assert still.upper == pytest.approx(bound, abs=1e-6)
    assert still.flips == Flips(count=100, gained=0, lost=0)


def test_a_lower_bound_at_the_tolerance_holds() -> None:
    bound = measure([True] * 50, [True] * 50).lower
    assert measure([True] * 50, [True] * 50, tolerance=-bound).holds
    assert not measure([True] * 50, [True] * 50, tolerance=-bound - 1e-9).holds


def test_answers_to_different_questions_are_not_compared() -> None:
    with pytest.raises(ValueError, match="shorter"):
        measure([True, True], [True])
