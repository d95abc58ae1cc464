"""Advice on the expected duration and on the evidence for a verdict."""

from typing import Any

import pytest

from core.advice.findings import Finding, Recognition, Severity
from core.advice.rules import (
    Duration,
    GuardingSet,
    PastUpdate,
    Workload,
    duration_finding,
    expected_duration,
    gain_finding,
    guard_findings,
    images_needed,
    workload,
)
from core.recipes.fields import Method, MixingChoice, ModelPart
from core.recipes.rules import Recipe
from tests.support.factories import a_policy


def past(**changes: Any) -> PastUpdate:
    """Twenty images a second, and ten seconds of scoring."""
    given: dict[str, Any] = {
        "part": ModelPart.WHOLE,
        "mixing_choice": MixingChoice.NONE,
        "device": "cuda (A100)",
        "images": 2000,
        "training_s": 100.0,
        "scoring_s": 10.0,
    }
    return PastUpdate(**given | changes)


@pytest.mark.parametrize(
    ("images", "learned"),
    [(250, 3 * 2 * 100), (100, 3 * 100), (99, 3 * 99), (1, 3)],  # epochs, batches, images of each
)
def test_every_step_learns_from_a_full_batch_or_from_all_images(images: int, learned: int) -> None:
    recipe = Recipe(method=Method.FT, epochs=3, batch_size=100)
    assert workload(recipe, images, exemplars=0).images == learned


@pytest.mark.parametrize(
    ("exemplars", "batch", "expected"),
    [
        (50, 20, Workload(steps=4, images=4 * 120)),
        (5, 20, Workload(steps=4, images=4 * 105)),
        (0, 20, Workload(steps=4, images=4 * 100)),
        (150, 0, Workload(steps=6, images=6 * 100)),
        (30, 0, Workload(steps=4, images=4 * 100)),
    ],
)
def test_exemplars_are_beside_each_batch_or_in_the_epoch(
    exemplars: int, batch: int, expected: Workload
) -> None:
    recipe = Recipe(method=Method.REPLAY, epochs=2, exemplar_batch=batch)
    assert workload(recipe, 200, exemplars=exemplars) == expected


def test_the_median_speed_and_scoring_time_of_like_updates_count() -> None:
    updates = [
        past(),
        past(training_s=50.0, scoring_s=30.0),
        past(training_s=1000.0, scoring_s=20.0),
        past(device="cpu (x86)", training_s=1.0),
        past(part=ModelPart.TEXT, training_s=1.0),
    ]
    assert expected_duration(updates, Recipe(), 600) == Duration(
        seconds=50.0, device="cuda (A100)", updates=3
    )


def test_the_device_is_that_of_the_newest_update_of_the_same_part() -> None:
    updates = [past(part=ModelPart.TEXT), past(device="cpu (x86)", images=200), past()]
    found = expected_duration(updates, Recipe(), 10)
    assert found == Duration(seconds=15.0, device="cpu (x86)", updates=1)
    told = expected_duration([past(), past(captions=True, images=200)], Recipe(), 10, captions=True)
    assert told == Duration(seconds=15.0, device="cuda (A100)", updates=1)


@pytest.mark.parametrize(
    ("choice", "seconds"),
    [
        (MixingChoice.NONE, 40.0),  # which takes no longer than a fixed share
        (MixingChoice.FIXED, 40.0),
        (MixingChoice.VALIDATION, 70.0),
        (MixingChoice.PER_LAYER, 310.0),
    ],
)
def test_updates_count_that_evaluated_as_often_on_validation_parts(
    choice: MixingChoice, seconds: float
) -> None:
    updates = [
        past(mixing_choice=MixingChoice.PER_LAYER, training_s=1000.0),
        past(mixing_choice=MixingChoice.VALIDATION, training_s=200.0),
        past(mixing_choice=MixingChoice.FIXED),
    ]
    found = expected_duration(updates, Recipe(mixing_choice=choice), 600)
    assert found == Duration(seconds=seconds, device="cuda (A100)", updates=1)


@pytest.mark.parametrize(
    "updates",
    [
        [],
        [past(part=ModelPart.TEXT)],
        [past(mixing_choice=MixingChoice.VALIDATION)],
        [past(captions=True)],
    ],
)
def test_without_a_like_update_the_duration_is_unknown(updates: list[PastUpdate]) -> None:
    assert expected_duration(updates, Recipe(), 10) is None


@pytest.mark.parametrize(
    ("seconds", "spoken"),
    [(0.2, "1 second"), (119.0, "119 seconds"), (120.0, "2 minutes"), (7300.0, "2 hours")],
)
def test_a_duration_is_said_in_words(seconds: float, spoken: str) -> None:
    found = duration_finding(48, Recipe(), Duration(seconds=seconds, device="cpu (x86)", updates=2))
    assert found.code == "duration"
    assert found.message == (
        f"Training takes 48 steps; with scoring, about {spoken}, judging by 2 earlier updates on "
        "cpu (x86)."
    )
    assert found.facts == {"steps": 48, "seconds": seconds, "device": "cpu (x86)"}


@pytest.mark.parametrize(
    ("recipe", "chosen"),
    [
        (Recipe(part=ModelPart.IMAGE), "part 'image'"),
        (
            Recipe(mixing_choice=MixingChoice.PER_LAYER),
            "part 'whole' and mixing choice 'per_layer'",
        ),
    ],
)
def test_an_unknown_duration_is_said_with_the_steps_and_what_takes_time(
    recipe: Recipe, chosen: str
) -> None:
    found = duration_finding(1, recipe, None)
    assert found.code == "duration_unknown"
    assert found.message == (
        "Training takes 1 step. The time is unknown, because no comparable update of this "
        f"model, with {chosen}, has finished without an interruption."
    )
    assert found.facts == {"steps": 1}


PARENT = Recognition(right=10, asked=50)  # 20 %: half of its errors are 40 points


def gain(test: int, parent: Recognition | None = PARENT, **changes: Any) -> Finding:
    return gain_finding(test, parent, a_policy(**changes))


@pytest.mark.parametrize(
    ("share", "wanted", "needed"),
    [
        (0.4, 0.0, 14),  # (z + 0.8416 (0.24 / 0.4)^1/2)^2 / 0.4 = 13.2, with z = 1.645
        (1.0, 0.0, 3),  # z^2 = 2.7
        (0.4, 0.1, 21),  # (0.33^1/2 z + 0.8416 0.24^1/2)^2 / 0.3^2 = 20.5
        (0.4, 0.4, None),
        (0.0, 0.0, None),
    ],
)
def test_the_images_that_a_gain_needs(share: float, wanted: float, needed: int | None) -> None:
    assert images_needed(share, a_policy(wanted_gain=wanted)) == needed


def test_answers_that_were_lost_before_make_a_gain_need_more_images() -> None:
    policy = a_policy()
    needed = gain_finding(100, PARENT, policy, lost=0.5).facts["needed"]
    assert needed == images_needed(0.4, policy, lost=0.5 * 0.2)
    assert needed > 14
    nothing_known = Recognition(right=0, asked=50)
    assert gain_finding(9, nothing_known, policy, lost=1.0).facts["needed"] == images_needed(
        0.5, policy
    )


def test_a_holdout_that_is_large_enough() -> None:
    found = gain(14)
    assert (found.code, found.severity) == ("holdout_sufficient", Severity.INFO)
    assert found.message == (
        "To show a gain of 40.0 points (half of the parent's errors) with a chance of 80 %, the "
        "holdout needs 14 test images; it has 14."
    )
    assert found.facts == {"test_images": 14, "gain": 0.4, "needed": 14}


def test_a_holdout_that_is_too_small() -> None:
    found = gain(5)
    assert (found.code, found.severity) == ("holdout_small", Severity.WARNING)
    assert found.message == (
        "To show a gain of 40.0 points (half of the parent's errors) with a chance of 80 %, the "
        "holdout needs 14 test images; it has 5: "
        "add about 57 images to the dataset."  # 9 test images / (0.2 * 0.8)
    )
    assert found.facts == {"test_images": 5, "gain": 0.4, "needed": 14, "more_images": 57}


def test_without_the_parents_accuracy_the_largest_gain_is_assumed() -> None:
    assert gain(3, None).message == (
        "To show a gain of 100.0 points (the largest possible) with a chance of 80 %, the holdout "
        "needs 3 test images; it has 3."
    )
    assert gain(2, None).facts["more_images"] == 7  # 1 / 0.16 = 6.25


def test_a_gain_that_cannot_be_reached() -> None:
    found = gain(1000, Recognition(right=45, asked=50), wanted_gain=0.05)
    assert (found.code, found.severity) == ("gain_out_of_reach", Severity.WARNING)
    assert found.message == (
        "A gain of 5.0 points (half of the parent's errors) does not exceed the wanted gain of "
        "5.0 points. Lower the policy's wanted gain, or teach classes that the parent does not "
        "recognise."
    )
    assert found.facts["needed"] is None


def test_sets_below_the_minimum_are_named() -> None:
    sets = [
        GuardingSet(name="suite emoji", test=350, untaught=350),
        GuardingSet(name="suite art", test=349),
        GuardingSet(name="holdout of version 2", test=4),
    ]
    [found] = guard_findings(sets, a_policy())
    assert (found.code, found.severity) == ("small_sets", Severity.INFO)
    assert found.message == (
        "These have fewer than 350 distinct test images, so they can stop a version but cannot "
        "alone let one pass: suite art (349), holdout of version 2 (4)."
    )
    assert found.facts["sets"] == {"suite art": 349, "holdout of version 2": 4}
    assert not list(guard_findings(sets[:1], a_policy()))


@pytest.mark.parametrize(("images", "told"), [(None, 0), (34, 34), (35, None)])
def test_suites_that_have_too_few_images_together_are_told_where_a_holdout_guards(
    images: int | None, told: int | None
) -> None:
    sets = [GuardingSet(name="holdout of version 2", test=350)]
    if images:
        sets += [GuardingSet(name="suite art", test=40, untaught=30)]
        sets += [GuardingSet(name="suite emoji", test=90, untaught=images - 30)]
    found = [one for one in guard_findings(sets, a_policy()) if one.code == "small_suites"]
    assert [one.facts for one in found] == (
        [] if told is None else [{"images": told, "needed": 35}]
    )
    for one in found:
        assert f"they have {told} distinct test images of classes that neither" in one.message


@pytest.mark.parametrize("sets", [[], [GuardingSet(name="suite art", test=10)]])
def test_without_a_set_that_is_large_enough_nothing_guards(sets: list[GuardingSet]) -> None:
    found, *rest = guard_findings(sets, a_policy())
    assert (found.code, found.severity) == ("no_guard", Severity.WARNING)
    assert found.message == (
        "No suite or earlier holdout has 350 distinct test images, so no version is promoted "
        "automatically: add a suite of about 438 images."
    )
    assert [one.code for one in rest] == ["small_sets"] * len(sets)
