"""What every step of an update does, which the released trainer does in part or not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.clip.model import load
from core.recipes.fields import Method, Precision, Schedule
from core.recipes.rules import Recipe
from core.training.trainer import TrainingSpec
from tests.support.learning.lessons import prepared, red_and_blue, train, with_recipe
from tests.support.learning.steps import counted, noisy, random_pixels, stand, step_data
from tests.support.learning.tiny_clip import stored, tiny_clip
from tests.support.memory_artifacts import MemoryArtifacts

torch.set_num_threads(1)


def moves(artifacts: MemoryArtifacts, spec: TrainingSpec) -> list[Tensor]:
    """What each step adds to all weights that train."""
    run = prepared(artifacts, spec)
    update = run.update

    def weights() -> Tensor:
        return torch.cat([p.detach().flatten() for p in update.models.parameters.values()])

    found, before = [], weights()
    while update.step < update.steps:
        update.advance(run.reading.step(update.step))
        found.append(weights() - before)
        before = weights()
    return found


@pytest.mark.parametrize("learned", [(), ("green",)])
def test_the_rate_follows_its_schedule_in_the_first_update_and_in_later_ones(
    learned: tuple[str, ...], artifacts: MemoryArtifacts
) -> None:
    """The released trainer builds a schedule for several sessions and never steps it."""
    spec = replace(with_recipe(red_and_blue(artifacts), epochs=3), learned=learned)
    stepped, constant = (
        moves(artifacts, with_recipe(spec, schedule=schedule, precision=Precision.FP32))
        for schedule in (Schedule.STEP, Schedule.CONSTANT)
    )
    assert len(stepped) == 6
    for one, other in zip(stepped[:4], constant, strict=False):
        assert torch.equal(one, other)
    torch.testing.assert_close(stepped[4], 0.1 * constant[4], rtol=1e-2, atol=1e-6)
    assert constant[4].abs().max() > 1e-3


def test_a_scale_beyond_a_hundred_is_brought_back_by_training(artifacts: MemoryArtifacts) -> None:
    """The released trainer lets it grow."""
    model = tiny_clip()
    model.logit_scale.data.fill_(6.0)
    parent = stored(model, artifacts)
    spec = replace(red_and_blue(artifacts), parent=parent.digest, root=parent.digest)
    version = load(train(artifacts, with_recipe(spec, epochs=1)).digest, artifacts)
    assert model.scale.item() > 400
    assert version.scale.item() <= 100.001


def test_zscls_teacher_reads_the_reference_images_alone() -> None:
    """Not the update's own images, and reference texts only once for all steps."""
    recipe = Recipe(method=Method.ZSCL, precision=Precision.FP32)
    made = stand(recipe, parent=noisy(tiny_clip()), root=tiny_clip())
    (teacher,) = made.models.teachers
    with (
        counted(teacher.network.transformer) as old,
        counted(made.models.student.network.transformer) as own,
        counted(teacher.visual) as images,
    ):
        made.step(replace(step_data(5), reference=random_pixels(4)))
    assert (old, images) == ([], [4])
    assert own == [len(made.models.class_tokens)]  # the class prompts, for the cross entropy
