"""Advice on the evidence for a verdict, by the gate's own intervals.

At the default alpha of 0.5 % the one-sided quantile is z = 2.5758, so z^2 = 6.635.
"""

from typing import Any

import pytest

from core.advice.findings import Finding, Recognition, Severity
from core.advice.rules import GuardingSet, gain_finding, guard_findings, images_needed
from core.gate.measures import Flips, paired_interval
from tests.support.factories import a_policy

PARENT = Recognition(right=10, asked=50)  # 20 %: half of its errors are 40 points


def gain(test: int, parent: Recognition | None = PARENT, **changes: Any) -> Finding:
    return gain_finding(test, parent, a_policy(**changes))


@pytest.mark.parametrize(
    ("share", "wanted", "needed"),
    [
        (0.4, 0.0, 17),  # z^2 / 0.4 = 16.6
        (1.0, 0.0, 7),  # z^2
        (0.4, 0.1, 25),  # z^2 (0.4 - 0.1 + 0.04 - 0.01) / 0.3^2 = 24.3
        (0.4, 0.4, None),
        (0.0, 0.0, None),
    ],
)
def test_the_images_that_a_gain_needs(share: float, wanted: float, needed: int | None) -> None:
    assert images_needed(share, a_policy(wanted_gain=wanted)) == needed


@pytest.mark.parametrize("wanted", [-0.02, 0.0, 0.1])
@pytest.mark.parametrize("share", [0.15, 0.4, 0.9])
def test_with_so_many_images_the_gates_bound_holds_and_with_one_less_it_does_not(
    share: float, wanted: float
) -> None:
    policy = a_policy(wanted_gain=wanted)
    needed = images_needed(share, policy)
    assert needed is not None
    holds = [
        paired_interval(Flips(count=n, gained=share * n, lost=0), policy.alpha).lower >= wanted
        for n in (needed - 1, needed)
    ]
    assert holds == [False, True]


def test_a_holdout_that_is_large_enough() -> None:
    found = gain(17)
    assert (found.code, found.severity) == ("holdout_sufficient", Severity.INFO)
    assert found.message == (
        "A gain of 40.0 points (half of the parent's errors) needs 17 test images for a firm "
        "verdict, and the holdout has 17."
    )
    assert found.facts == {"test_images": 17, "gain": 0.4, "needed": 17}


def test_a_holdout_that_is_too_small() -> None:
    found = gain(5)
    assert (found.code, found.severity) == ("holdout_small", Severity.WARNING)
    assert found.message == (
        "A gain of 40.0 points (half of the parent's errors) needs 17 test images for a firm "
        "verdict, but the holdout has 5: "
        "add about 75 images to the dataset."  # 12 test images / (0.2 * 0.8)
    )
    assert found.facts == {"test_images": 5, "gain": 0.4, "needed": 17, "more_images": 75}


def test_without_the_parents_accuracy_the_largest_gain_is_assumed() -> None:
    assert gain(7, None).message == (
        "A gain of 100.0 points (the largest possible) needs 7 test images for a firm verdict, "
        "and the holdout has 7."
    )
    assert gain(6, None).facts["more_images"] == 7  # 1 / 0.16 = 6.25


def test_a_gain_that_cannot_be_reached() -> None:
    found = gain(1000, Recognition(right=45, asked=50), wanted_gain=0.05)
    assert (found.code, found.severity) == ("gain_out_of_reach", Severity.WARNING)
    assert found.message == (
        "A gain of 5.0 points (half of the parent's errors) does not exceed the wanted gain of "
        "5.0 points. Lower the policy's wanted gain, or teach classes that the parent does not "
        "recognise."
    )
    assert found.facts["needed"] is None


def test_sets_below_the_minimum_are_advisory() -> None:
    sets = [
        GuardingSet(name="suite emoji", test=500),
        GuardingSet(name="suite art", test=499),
        GuardingSet(name="holdout of version 2", test=4),
    ]
    [found] = guard_findings(sets, a_policy())
    assert (found.code, found.severity) == ("advisory_measures", Severity.INFO)
    assert found.message == (
        "Sets with fewer than 500 test images can fail the update but do not guard it: "
        "suite art (499), holdout of version 2 (4)."
    )
    assert found.facts["sets"] == {"suite art": 499, "holdout of version 2": 4}
    assert not list(guard_findings(sets[:1], a_policy()))


@pytest.mark.parametrize("sets", [[], [GuardingSet(name="suite art", test=10)]])
def test_without_a_set_that_is_large_enough_nothing_guards(sets: list[GuardingSet]) -> None:
    found, *rest = guard_findings(sets, a_policy())
    assert (found.code, found.severity) == ("no_guard", Severity.WARNING)
    assert found.message == (
        "No suite or earlier holdout has 500 test images, so no version is promoted "
        "automatically: add a suite of about 625 images."
    )
    assert [one.code for one in rest] == ["advisory_measures"] * len(sets)
