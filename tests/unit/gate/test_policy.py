"""Verdicts of the gate and their reasons."""

from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from core.gate.intervals import p_below, paired_interval
from core.gate.judge import judge
from core.gate.kinds import ClassList, MeasureKind, Outcome
from core.gate.measures import Measure
from core.gate.rules import Verdict
from core.gate.sample_size import images_to_settle
from tests.support.evaluation.measures import gain, measure, outcomes
from tests.support.factories import a_policy

POLICY = a_policy(minimum_count=500)


def test_harmless_update_passes() -> None:
    judgement = judge([measure(gained=20, lost=25), gain()], POLICY)
    assert judgement.verdict is Verdict.PASSED
    assert outcomes(judgement) == [Outcome.HOLDS, Outcome.HOLDS]
    assert "within tolerance" in judgement.reasons[0]


def test_forgetting_beyond_tolerance_fails_whatever_was_gained() -> None:
    judgement = judge([measure(lost=200), gain()], POLICY)
    assert judgement.verdict is Verdict.FAILED
    assert outcomes(judgement) == [Outcome.FAILS, Outcome.HOLDS]
    assert "Top-1 on emoji against the parent changed by −10.0 points" in judgement.reasons[0]


@pytest.mark.parametrize("count", [2000, 30])
def test_failing_is_corrected_for_the_number_of_measures(count: int) -> None:
    # Below its tolerance at one-sided 0.5 %, but not at a twentieth of that.
    barely = measure(count=1000, gained=20, lost=77)
    assert barely.upper < -barely.tolerance
    assert judge([barely, gain()], POLICY).verdict is Verdict.FAILED
    crowd = [measure(name=f"suite-{i}", count=count) for i in range(200)]
    judgement = judge([barely, *crowd, gain()], POLICY)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.measures[0].outcome is Outcome.OPEN


def test_holm_rejects_the_second_at_a_milder_level_than_the_first() -> None:
    # Its p-value, 0.0035, is under 0.005 but not under a half of it.
    barely = measure(count=1000, gained=20, lost=75, name="second")
    assert outcomes(judge([barely, measure()], POLICY))[0] is Outcome.OPEN
    judgement = judge([measure(lost=400), barely], POLICY)
    assert outcomes(judgement) == [Outcome.FAILS, Outcome.FAILS]


@pytest.mark.parametrize("count", [20, 100, 400, 499])
@pytest.mark.parametrize("kind", [MeasureKind.ZERO_SHOT, MeasureKind.HOLDOUT])
def test_few_images_may_fail_an_update(kind: MeasureKind, count: int) -> None:
    small = measure(kind, count=count, lost=count * 9 // 10, name="small")
    judgement = judge([measure(), small, gain()], POLICY)
    assert judgement.verdict is Verdict.FAILED
    assert outcomes(judgement) == [Outcome.HOLDS, Outcome.FAILS, Outcome.HOLDS]
    assert "small against the parent changed by" in judgement.reasons[0]


def test_few_images_whose_own_loss_is_beyond_tolerance_stop_a_version() -> None:
    small = measure(count=30, lost=1, name="small")
    judgement = judge([measure(), small, gain()], POLICY)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert outcomes(judgement) == [Outcome.HOLDS, Outcome.OPEN, Outcome.HOLDS]


def test_few_images_that_lost_nothing_stop_nothing() -> None:
    judgement = judge([measure(), measure(count=30, name="small"), gain()], POLICY)
    assert judgement.verdict is Verdict.PASSED
    assert judgement.reasons[-1] == (
        "These have fewer than 500 distinct test images, so they can stop a version but cannot "
        "alone let one pass: top-1 on small against the parent (30 images)."
    )


def test_a_small_holdout_of_several_stops_only_what_fails_and_is_no_guard() -> None:
    holdout = MeasureKind.HOLDOUT
    small = measure(holdout, count=30, lost=3, pooled=True)
    assert judge([measure(), small, gain()], POLICY).verdict is Verdict.PASSED
    many = [measure(holdout, count=600, name=f"version {n}", pooled=True) for n in (2, 3)]
    assert judge([*many, gain()], POLICY).verdict is Verdict.INCONCLUSIVE
    whole = measure(holdout, count=600, gained=9, lost=30, pooled=True)
    assert judge([measure(), whole, gain()], POLICY).verdict is Verdict.INCONCLUSIVE


def test_no_measure_of_any_size_asks_less_of_one_that_has_enough_images() -> None:
    """Whatever passes also passes by the measures with enough images at the full level alone."""
    random, passed = Random(3), 0
    for _ in range(300):
        drawn = [
            measure(
                random.choice([MeasureKind.ZERO_SHOT, MeasureKind.HOLDOUT]),
                count=count,
                gained=random.randrange(count // 20),
                lost=random.randrange(count // 15),
                pooled=random.random() < 0.5,
            )
            for count in random.choices([60, 200, 499, 500, 501, 1000, 3000], k=3)
        ]
        if judge([*drawn, gain(), measure(count=60)], POLICY).verdict is Verdict.PASSED:
            passed += 1
            full = [m for m in drawn if m.images >= 500]
            assert full
            assert all(paired_interval(m.flips, 0.005).lower >= -0.03 for m in full)
    assert passed > 20


@pytest.mark.parametrize("pooled", [False, True])
def test_one_image_more_never_changes_the_bound_by_a_jump(pooled: bool) -> None:
    bounds = [
        measure(MeasureKind.HOLDOUT, count=n, gained=n // 20, lost=n // 10, pooled=pooled).lower
        + (n // 10 - n // 20) / n
        for n in range(400, 601, 20)
    ]
    steps = [abs(one - other) for one, other in pairwise(bounds)]
    assert max(steps) < 0.004


def test_as_many_images_as_the_policy_asks_for_are_a_guard() -> None:
    assert judge([measure(count=500), gain()], POLICY).verdict is Verdict.PASSED
    judgement = judge([measure(count=499), gain()], POLICY)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert outcomes(judgement) == [Outcome.HOLDS, Outcome.HOLDS]


def blind(right: int, *, classes: int | None = None, lost: int = 0) -> Measure:
    """A suite of 1,000 images of which the parent had so many right, and 30 may be lost."""
    before = [True] * right + [False] * (1000 - right)
    return Measure.of(
        MeasureKind.ZERO_SHOT,
        name="hard",
        baseline="parent",
        baseline_version=1,
        tolerance=0.03,
        images=1000,
        now=[False] * lost + before[lost:],
        before=before,
        alpha=0.005,
        minimum_count=500,
        classes=classes,
    )


@pytest.mark.parametrize(
    ("sizes", "images", "passes"),
    [((50,), 50, True), ((49,), 49, False), ((20, 30), 50, True), ((2,), 2, False)],
)
def test_a_version_passes_only_where_suites_have_a_tenth_of_the_images_that_guard(
    sizes: tuple[int, ...], images: int, passes: bool
) -> None:
    """Else a suite of two images would be all that asks what no update has taught."""
    holdout = measure(MeasureKind.HOLDOUT, count=600, name="version 2")
    suites = [measure(count=size, name=f"suite-{n}") for n, size in enumerate(sizes)]
    longer = [replace(one, asked=ClassList.UNION) for one in suites]
    told = f"can show a loss on {images} distinct test images of classes that no update has"
    for kept in ([holdout, *suites], [holdout, *suites, *suites, *longer]):  # two baselines
        judgement = judge([*kept, gain()], POLICY)
        assert (judgement.verdict is Verdict.PASSED) is passes
        assert any(told in reason for reason in judgement.reasons) is not passes


def test_images_of_a_suite_that_cannot_show_a_loss_ask_nothing_of_what_was_not_taught() -> None:
    holdout = measure(MeasureKind.HOLDOUT, count=600, name="version 2")
    for found in (blind(10, classes=9), blind(1000, classes=1)):
        judgement = judge([holdout, found, gain()], POLICY)
        assert judgement.verdict is Verdict.INCONCLUSIVE
        assert any("loss on 0 distinct test images of" in one for one in judgement.reasons)
    assert judge([holdout, blind(60, classes=9), gain()], POLICY).verdict is Verdict.PASSED


def test_a_suite_that_cannot_show_a_loss_guards_nothing_and_says_why() -> None:
    few, one = blind(10, classes=9, lost=10), blind(1000, classes=1)
    assert few.holds
    assert one.holds
    for found, why in (
        (few, "the parent had 10 of 1,000 answers right, which is no more than may be lost."),
        (one, "with one class to choose from, every version is right."),
    ):
        judgement = judge([found, gain()], POLICY)
        assert judgement.verdict is Verdict.INCONCLUSIVE
        assert f"hard guards nothing: {why}" in judgement.reasons
        assert any("No measure guards this model" in reason for reason in judgement.reasons)
    longer = replace(one, asked=ClassList.UNION, classes=5)
    assert judge([one, longer, gain()], POLICY).verdict is Verdict.INCONCLUSIVE
    beside = judge([few, measure(), gain()], POLICY)
    assert beside.verdict is Verdict.PASSED
    assert any("hard guards nothing" in reason for reason in beside.reasons)
    for limit, verdict in ((1.0, Verdict.PASSED), (0.99, Verdict.INCONCLUSIVE)):
        lenient = replace(few, tolerance=limit)  # where all may be lost, nobody asks for a guard
        assert judge([lenient, gain()], POLICY).verdict is verdict
    enough = judge([blind(31, classes=9), gain()], POLICY)
    assert enough.verdict is Verdict.PASSED
    assert not any("guards nothing" in reason for reason in enough.reasons)


def test_a_p_value_at_the_level_does_not_fail() -> None:
    barely = measure(count=1000, gained=20, lost=75)
    p_value = p_below(barely.flips, -0.03)
    assert outcomes(judge([barely], a_policy(alpha=p_value))) == [Outcome.OPEN]
    assert outcomes(judge([barely], a_policy(alpha=p_value * 1.001))) == [Outcome.FAILS]


def test_fault_fails_whatever_the_measures_say_and_comes_first() -> None:
    judgement = judge([measure(), gain()], POLICY, ["It answers nothing."])
    assert judgement.verdict is Verdict.FAILED
    assert judgement.reasons[0] == "It answers nothing."


def test_captions_do_not_count_as_images_towards_the_minimum() -> None:
    captions = measure(MeasureKind.TEXT_TO_IMAGE, count=2000, images=400, design_effect=3.0)
    judgement = judge([captions, gain()], POLICY)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert outcomes(judgement) == [Outcome.HOLDS, Outcome.HOLDS]


@pytest.mark.parametrize(
    ("kept", "why"),
    [
        ([], "The model has no suite"),
        ([measure(MeasureKind.HOLDOUTS), measure(MeasureKind.HOLDOUT)], "The model has no suite"),
        ([measure(count=100)], "No measure guards this model"),
    ],
)
def test_unguarded_model_is_never_promoted_and_says_why(kept: list[Measure], why: str) -> None:
    judgement = judge([gain(), *kept], POLICY)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert any(why in reason for reason in judgement.reasons)
    assert judge([gain(), *kept, measure()], POLICY).verdict is Verdict.PASSED


def test_without_a_holdout_nothing_is_promoted() -> None:
    judgement = judge([measure()], POLICY)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert any("holdout has no test image" in reason for reason in judgement.reasons)


def test_small_holdout_is_judged_by_its_interval() -> None:
    assert judge([measure(), gain(12, 0, 20)], POLICY).verdict is Verdict.PASSED
    doubtful = judge([measure(), gain(3, 1, 20)], POLICY)
    assert doubtful.verdict is Verdict.INCONCLUSIVE
    assert any("the wanted gain" in reason for reason in doubtful.reasons)


def test_wanted_gain_is_asked_for() -> None:
    assert judge([measure(), gain(60, 5, wanted=0.3)], POLICY).verdict is Verdict.PASSED
    assert judge([measure(), gain(40, 5, wanted=0.3)], POLICY).verdict is Verdict.INCONCLUSIVE


def test_without_a_flip_the_promised_images_do_settle_it_and_one_fewer_do_not() -> None:
    doubtful = measure(count=100, minimum_count=1)
    more = images_to_settle(doubtful, alpha=0.005, tests=2)
    assert more == 115
    assert measure(count=215, minimum_count=1).holds
    assert not measure(count=214, minimum_count=1).holds


@pytest.mark.parametrize(("count", "gained", "lost"), [(1000, 20, 50), (600, 2, 17)])
def test_a_difference_at_its_tolerance_is_not_settled_by_counting(
    count: int, gained: int, lost: int
) -> None:
    """Exactly at it, or so close that more than ten times the images would be needed."""
    doubtful = measure(count=count, gained=gained, lost=lost)
    assert images_to_settle(doubtful, alpha=0.005, tests=2) is None
    judgement = judge([doubtful, gain()], POLICY)
    assert any("the difference lies at the limit" in reason for reason in judgement.reasons)


@pytest.mark.parametrize(
    ("changes", "no_looser"),
    [
        ({}, True),
        ({"settled_tolerance": 0.07, "wanted_gain": 0.1, "negative_flips": 0.05}, True),
        ({"settled_tolerance": 0.09}, False),
        ({"settled_tolerance": 0.01, "union_tolerance": 0.06}, False),
        ({"class_tolerance": None}, False),
        ({"wanted_gain": -0.1}, False),
        ({"minimum_count": 400}, False),
        ({"minimum_count": 300}, False),
        ({"alpha": 0.004}, False),
        ({"same_names": (("Wild cat", "lynx"),)}, True),
        ({"same_names": (("cat", "dog"),)}, False),
    ],
)
def test_a_policy_is_no_looser_if_no_limit_allows_more(
    changes: dict[str, Any], no_looser: bool
) -> None:
    now = a_policy(same_names=(("lynx", "bobcat"), ("bobcat", "wild cat")))
    one = a_policy(**changes)
    assert one.is_no_looser_than(now) is no_looser
