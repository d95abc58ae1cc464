"""One step's loss and gradients: what distillation starts with, and what may not change them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.learning.distributed import repeatable
from core.recipes.fields import Method, ModelPart, Precision, TeacherPolicy
from core.recipes.rules import Recipe
from tests.support.learning.lessons import PARTS, altered
from tests.support.learning.rounding import logit_error
from tests.support.learning.steps import counted, in_double, noisy, random_pixels, stand, step_data
from tests.support.learning.tiny_clip import tiny_clip

RECIPE = Recipe(sentences=6, sentence_length=6, precision=Precision.FP32, temperature=1.5)

DISTILLING = (Method.LWF, Method.VRLWF, Method.VRLWF_CROSS, Method.ZSCL)

WAYS = [  # the other methods have the loss of fine-tuning
    (method, part)
    for method in (Method.FT, *DISTILLING)
    for part in PARTS
    if (method, part) != (Method.ZSCL, ModelPart.TEXT)
]


@pytest.fixture(autouse=True)
def still() -> Iterator[None]:
    with repeatable(0, device=torch.device("cpu"), threads=1):
        yield


def largest(gradients: dict[str, Tensor]) -> float:
    return max(gradient.abs().max().item() for gradient in gradients.values())


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """Compare gradients up to the rounding of a logit, as a share of the largest element."""
    assert one.keys() == other.keys()
    within = logit_error(tiny_clip(), next(iter(one.values())).dtype) * largest(one)
    for name, gradient in one.items():
        torch.testing.assert_close(other[name], gradient, rtol=0, atol=within, msg=name)


@pytest.mark.parametrize(("method", "part"), [way for way in WAYS if way[0] in DISTILLING])
def test_while_student_and_teacher_are_equal_forgetting_costs_nothing(
    method: Method, part: ModelPart
) -> None:
    """Up to a logit's rounding, as a share of what logits pull by in the cross entropy."""
    recipe = altered(RECIPE, method=method, part=part)
    error = logit_error(tiny_clip(), torch.float64)
    _, pulled = stand(altered(recipe, method=Method.FT)).step()
    made = stand(recipe, parent=in_double(tiny_clip()), only_distillation=True)
    numbers, gradients = made.step()
    if method is not Method.ZSCL:  # its cross entropies never fall below the teacher's entropy
        assert numbers["loss"] == pytest.approx(0, abs=logit_error(tiny_clip(), torch.float32))
    assert gradients
    assert largest(gradients) < error * largest(pulled)


@pytest.mark.parametrize(("method", "part"), [way for way in WAYS if way[0] in DISTILLING])
def test_against_another_teacher_every_distillation_pulls(method: Method, part: ModelPart) -> None:
    """Without this, a loss that is always zero would pass the test above."""
    recipe = altered(RECIPE, method=method, part=part, teacher=TeacherPolicy.ROOT)
    _, gradients = stand(
        recipe, parent=noisy(tiny_clip()), root=tiny_clip(), only_distillation=True
    ).step()
    pulled = {name for name, gradient in gradients.items() if gradient.abs().max() > 1e-5}
    towers = {name.startswith("visual.") for name in pulled - {"logit_scale"}}
    assert (True in towers) is (part is not ModelPart.TEXT)
    assert (False in towers) is (part is not ModelPart.IMAGE and method is not Method.ZSCL)


@pytest.mark.parametrize(
    ("method", "part", "micro_batch"),
    [(*way, 3) for way in WAYS]
    + [(Method.VRLWF_CROSS, ModelPart.WHOLE, size) for size in (1, 7, 64)],
)
def test_reading_a_batch_in_parts_changes_nothing(
    method: Method, part: ModelPart, micro_batch: int
) -> None:
    recipe = altered(RECIPE, method=method, part=part, teacher=TeacherPolicy.BOTH)
    found = [
        stand(
            replace(recipe, micro_batch=size),
            parent=in_double(noisy(tiny_clip())),
            root=in_double(tiny_clip()),
        ).step()
        for size in (0, micro_batch)
    ]
    (numbers, whole), (in_parts, parts) = found
    assert in_parts == pytest.approx(numbers, rel=1e-6)
    assert_same(whole, parts)


@pytest.mark.parametrize(
    ("method", "part", "precision"),
    [(*way, Precision.FP32) for way in WAYS]
    + [(Method.VRLWF, ModelPart.WHOLE, half) for half in (Precision.BF16, Precision.FP16)],
)
def test_recomputing_activations_changes_no_bit(
    method: Method, part: ModelPart, precision: Precision
) -> None:
    recipe = altered(RECIPE, method=method, part=part, precision=precision)
    (numbers, kept), (again, recomputed) = (
        stand(replace(recipe, gradient_checkpointing=on)).step() for on in (False, True)
    )
    assert again == numbers
    assert kept.keys() == recomputed.keys()
    assert all(torch.equal(recomputed[name], gradient) for name, gradient in kept.items())


def test_recomputing_runs_each_block_twice() -> None:
    made = stand(altered(RECIPE, method=Method.FT, gradient_checkpointing=True))
    with counted(made.models.student.visual.transformer.resblocks[0]) as calls:
        made.step()
    assert calls == [7, 7]


@pytest.mark.parametrize(("method", "part"), WAYS)
def test_features_that_are_known_need_not_be_read_again(method: Method, part: ModelPart) -> None:
    recipe = altered(RECIPE, method=method, part=part, teacher=TeacherPolicy.BOTH, micro_batch=3)
    reading, knowing = (
        stand(recipe, parent=in_double(noisy(tiny_clip())), root=in_double(tiny_clip()))
        for _ in range(2)
    )
    data = step_data()
    everything = torch.cat([random_pixels(5, seed=8), data.pixels])
    known = knowing.models.know(everything, distils=method in DISTILLING)
    numbers, gradients = reading.step(data)
    again, same = knowing.knowing(known).step(replace(data, indices=data.indices + 5))
    assert again == pytest.approx(numbers, rel=1e-6)
    assert_same(gradients, same)


def test_known_features_spare_the_teachers_and_the_frozen_tower() -> None:
    made = stand(replace(RECIPE, part=ModelPart.TEXT))
    made = made.knowing(made.models.know(step_data().pixels))
    with counted(made.models.student.visual) as own, counted(made.models.teachers[0].visual) as old:
        made.step()
    assert own == old == []


@pytest.mark.parametrize(
    ("part", "texts", "images"),
    [
        (ModelPart.WHOLE, [3 + 6], [2, 2, 2, 1]),  # the classes and the sentences
        (ModelPart.IMAGE, [], [2, 2, 2, 1]),
        (ModelPart.TEXT, [3 + 6], [2, 2, 2, 1]),
    ],
)
def test_the_student_reads_once_and_teachers_only_what_it_cannot_give_them(
    part: ModelPart, texts: list[int], images: list[int]
) -> None:
    made = stand(replace(RECIPE, part=part, micro_batch=2))
    (student, (teacher,)) = made.models.student, made.models.teachers
    with (
        counted(student.network.transformer) as own_texts,
        counted(teacher.network.transformer) as old_texts,
        counted(student.visual) as own_images,
        counted(teacher.visual) as old_images,
    ):
        made.step()
    assert (own_texts, own_images) == (texts, images)
    assert (old_texts, old_images) == ([], [] if part is ModelPart.TEXT else images)


@pytest.mark.parametrize("method", [Method.FT, Method.WISE, Method.IMM_MEAN, Method.REPLAY])
def test_methods_that_distil_nothing_have_no_teacher(method: Method) -> None:
    assert stand(altered(RECIPE, method=method)).models.teachers == ()
