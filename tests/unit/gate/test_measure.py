"""A measure: two versions' answers to the same question, compared."""

from typing import Any

import pytest

from core.gate.guards import is_guard, is_worn_out
from core.gate.intervals import Flips, paired_interval, proportion_interval, score
from core.gate.kinds import MeasureKind
from core.gate.measures import Measure


def measure(
    now: list[bool], before: list[bool], kind: MeasureKind = MeasureKind.HOLDOUT, **changes: Any
) -> Measure:
    values: dict[str, Any] = {
        "name": "version 2",
        "baseline": "version 2",
        "baseline_version": 2,
        "tolerance": 0.05,
        "images": len(now),
        "alpha": 0.025,
    }
    return Measure.of(kind, now=now, before=before, **values | changes)


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
        distinct=5,
        count=5,
        right=3,
        right_before=2,
        gained=2,
        lost=1,
        design_effect=1.0,
        difference=0.2,
        lower=bounds.lower,
        interval_lower=bounds.lower,
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


# ---- A line's budget ------------------------------------------------------------------------

LEVEL = 0.05 / 101  # z is 3.2932, so 351 unchanged answers hold a tolerance of 3 points


def unchanged(count: int, level: float | None = LEVEL) -> Measure:
    hits = [True] * count
    verdicts = None if level is None else 1
    return measure(hits, hits, tolerance=0.03, alpha=0.005, level=level, verdicts=verdicts)


def test_a_level_moves_the_lower_bound_alone() -> None:
    now, before = [True] * 90 + [False] * 10, [False] * 5 + [True] * 95
    flips = Flips(count=100, gained=5, lost=10)
    found = measure(now, before, alpha=0.005, level=0.0005)
    assert found.lower == paired_interval(flips, 0.0005).lower
    assert found.upper == paired_interval(flips, 0.005).upper


@pytest.mark.parametrize(
    ("count", "level", "holds"),
    [(214, None, False), (215, None, True), (350, LEVEL, False), (351, LEVEL, True)],
)
def test_a_stricter_level_takes_more_unchanged_images(
    count: int, level: float | None, holds: bool
) -> None:
    assert unchanged(count, level).holds is holds


@pytest.mark.parametrize(
    ("count", "level", "worn_out"),
    [
        (214, LEVEL, False),
        (215, LEVEL, True),
        (350, LEVEL, True),
        (351, LEVEL, False),
        (300, None, False),
    ],
)
def test_images_are_worn_out_where_the_budget_alone_keeps_them_from_holding(
    count: int, level: float | None, worn_out: bool
) -> None:
    assert is_worn_out(unchanged(count, level), 0.005, 1) is worn_out


def test_whether_images_are_worn_out_does_not_depend_on_the_flips() -> None:
    now, before = [True] * 400 + [False] * 60, [True] * 460
    given: dict[str, Any] = {"tolerance": 0.03, "alpha": 0.005, "level": LEVEL, "verdicts": 1}
    flipped = measure(now, before, **given)
    assert not flipped.holds
    assert not is_worn_out(flipped, 0.005, 1)
    captions = measure(now, before, images=230, design_effect=2.0, **given)
    assert is_worn_out(captions, 0.005, 1)


# ---- What is asked grows with the images ----------------------------------------------------

Z = 2.5758293  # exceeded with probability 0.005


@pytest.mark.parametrize(
    ("kind", "pooled", "images", "asked"),
    [
        (MeasureKind.ZERO_SHOT, False, 1, 0.002),
        (MeasureKind.ZERO_SHOT, False, 250, 0.5),
        (MeasureKind.HOLDOUT, False, 499, 0.998),
        (MeasureKind.HOLDOUTS, False, 500, 1),
        (MeasureKind.HOLDOUTS, False, 5000, 1),
        (MeasureKind.HOLDOUT, True, 1, -0.996),
        (MeasureKind.HOLDOUT, True, 250, 0),
        (MeasureKind.HOLDOUT, True, 500, 1),
        (MeasureKind.GAIN, False, 1, 1),
    ],
)
def test_what_is_asked_grows_to_the_full_level_at_the_minimum_count(
    kind: MeasureKind, pooled: bool, images: int, asked: float
) -> None:
    values: dict[str, Any] = {"images": images, "alpha": 0.005, "minimum_count": 500}
    found = Measure.of(
        kind,
        name="emoji",
        baseline="parent",
        baseline_version=1,
        tolerance=0.05,
        now=[True] * 94 + [False] * 6,
        before=[True] * 96 + [False] * 4,
        pooled=pooled,
        **values,
    )
    assert score(found.flips, found.lower) == pytest.approx(asked * Z, abs=1e-4)
    interval = paired_interval(found.flips, 0.005)
    assert (found.interval_lower, found.upper) == (interval.lower, interval.upper)


@pytest.mark.parametrize("kind", [MeasureKind.ZERO_SHOT, MeasureKind.IMAGE_TO_TEXT])
def test_captions_count_as_the_images_that_they_share(kind: MeasureKind) -> None:
    hits = [True] * 98 + [False] * 2, [True] * 100
    few, many = (measure(*hits, images=n, minimum_count=100, kind=kind) for n in (20, 100))
    assert few.lower > many.lower
    assert is_guard(few, 20) is is_guard(many, 100) is True
    assert is_guard(few, 21) is False


# ---- Negative flips -------------------------------------------------------------------------


@pytest.mark.parametrize(("lost", "count"), [(0, 400), (3, 400), (30, 1000), (5, 50)])
def test_lower_bound_of_formerly_right_answers_is_wilsons_of_their_negative_flips(
    lost: int, count: int
) -> None:
    now = [False] * lost + [True] * (count - lost)
    found = measure(now, [True] * count, alpha=0.005, formerly_right=True)
    assert found.lower == pytest.approx(-proportion_interval(lost, count, 0.005).upper)
    assert found.difference == -lost / count
    assert found.formerly_right
