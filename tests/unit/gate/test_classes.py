"""The limit for a single class: what it stops, and that chance alone does not reach it."""

from dataclasses import replace
from math import comb

import pytest

from core.gate.classes import ClassLoss, exact_p, lost_classes
from core.gate.judge import judge
from core.gate.kinds import ClassList, MeasureKind
from core.gate.rules import Verdict
from tests.support.evaluation.measures import gain, measure
from tests.support.factories import a_policy


def a_class(name: str, *, lost: int, images: int = 20, gained: int = 0) -> ClassLoss:
    """A class of which all images were right that are not gained."""
    before = images - gained
    return ClassLoss(
        kind=MeasureKind.ZERO_SHOT,
        name="emoji",
        baseline="parent",
        baseline_version=1,
        asked=ClassList.OWN,
        class_name=name,
        images=images,
        right=before - lost + gained,
        right_before=before,
        gained=gained,
        lost=lost,
    )


KEPT = [a_class(f"class {n}", lost=n % 4, gained=2) for n in range(999)]


def test_one_class_of_a_thousand_that_is_wholly_lost_fails_a_version_within_all_other_limits() -> (
    None
):
    measures = [measure(count=4000, lost=20), gain()]
    policy = a_policy()
    assert judge(measures, policy).verdict is Verdict.PASSED
    found = judge(measures, policy, classes=[*KEPT, a_class("cup", lost=20)])
    assert (found.verdict, [one.class_name for one in found.lost_classes]) == ("failed", ["cup"])
    assert found.reasons[0] == (
        "Of a single class, significantly more was lost than the allowed 30.0 points: cup of "
        "emoji, against the parent (0 of 20 images right, 20 before)."
    )
    off = judge(measures, a_policy(class_tolerance=None), classes=[a_class("cup", lost=20)])
    assert (off.verdict, off.lost_classes) == (Verdict.PASSED, ())


def test_a_class_lets_nothing_pass() -> None:
    measures = [measure(count=1000, lost=30), gain()]
    assert judge(measures, a_policy(), classes=KEPT).verdict is Verdict.INCONCLUSIVE


def test_each_further_class_has_to_be_surer() -> None:
    pot = a_class("pot", lost=14)
    assert lost_classes([pot], 0.3, 0.005) == (pot,)
    assert lost_classes([pot, *KEPT], 0.3, 0.005) == ()
    cup = a_class("cup", lost=20)
    assert lost_classes([pot, cup, *KEPT[:1]], 0.3, 0.005) == (cup, pot)[:1]


def test_the_classes_of_another_suite_do_not_hide_what_is_lost_in_one() -> None:
    pot = a_class("pot", lost=17)
    shelf = [pot, *KEPT[:39]]
    assert lost_classes(shelf, 0.3, 0.005) == (pot,)
    assert lost_classes([*shelf, *KEPT[:200]], 0.3, 0.005) == ()
    others = [replace(one, name="other") for one in KEPT]
    assert lost_classes([*shelf, *others], 0.3, 0.005) == (pot,)
    many = [replace(one, name=f"suite {n % 99}") for n, one in enumerate(KEPT)]
    assert lost_classes([*shelf, *many], 0.3, 0.005) == ()  # each suite has an equal share


def test_of_many_lost_classes_five_are_named() -> None:
    found = judge([gain()], a_policy(), classes=[a_class(f"c{n}", lost=20) for n in range(8)])
    assert found.reasons[0].endswith("; and 3 more.")
    among_all = replace(
        a_class("cup", lost=20),
        kind=MeasureKind.HOLDOUT,
        name="version 2",
        asked=ClassList.UNION,
    )
    (told, *_) = judge([gain()], a_policy(), classes=[among_all]).reasons
    assert "cup of the holdout of version 2, with all learned classes to choose from," in told


@pytest.mark.parametrize("images", [5, 20, 40])
@pytest.mark.parametrize("before", [0.4, 0.65, 0.9, 1.0])
def test_a_class_at_the_limit_fails_no_more_often_than_the_level(
    images: int, before: float
) -> None:
    """Worked out for versions that are right independently, 30 points apart."""

    def chance(right: int, accuracy: float) -> float:
        wrong = images - right
        return comb(images, right) * float(accuracy**right) * float((1 - accuracy) ** wrong)

    for level in (0.005, 0.00005):
        size = sum(
            chance(then, before) * chance(now, before - 0.3)
            for then in range(images + 1)
            for now in range(then + 1)
            if then - now > 0.3 * images and exact_p(images, then - now, 0.3) < level
        )
        assert size <= level * 1.001


def test_a_large_class_is_judged_by_its_flips() -> None:
    assert lost_classes([a_class("cup", lost=50, images=100)], 0.3, 0.005)
    assert not lost_classes([a_class("cup", lost=40, images=100)], 0.3, 0.005)
