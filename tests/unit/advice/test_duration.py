"""The expected duration of an update, from earlier ones."""

from typing import Any

import pytest

from core.advice.rules import (
    Duration,
    PastUpdate,
    Workload,
    duration_finding,
    expected_duration,
    workload,
)
from core.recipes.fields import Method, MixingChoice, ModelPart
from core.recipes.rules import Recipe


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
    "updates", [[], [past(part=ModelPart.TEXT)], [past(mixing_choice=MixingChoice.VALIDATION)]]
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


def test_an_unknown_duration_is_said_with_the_steps() -> None:
    found = duration_finding(1, Recipe(part=ModelPart.IMAGE), None)
    assert found.code == "duration_unknown"
    assert found.message == (
        "Training takes 1 step. The time is unknown, because no comparable update of this "
        "model, with part 'image', has finished without an interruption."
    )
    assert found.facts == {"steps": 1}


def test_an_unknown_duration_names_a_mixing_choice_that_takes_time() -> None:
    found = duration_finding(1, Recipe(mixing_choice=MixingChoice.PER_LAYER), None)
    assert found.message == (
        "Training takes 1 step. The time is unknown, because no comparable update of this "
        "model, with part 'whole' and mixing choice 'per_layer', has finished without an "
        "interruption."
    )
