"""One step's loss and gradients: what distillation starts with, and what may not change them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.errors import RecipeInvalid
from core.learning.distributed import repeatable
from core.recipes.fields import Method, ModelPart, Precision, TeacherPolicy
from core.recipes.rules import Recipe
from tests.support.learning.lessons import PRECISIONS, altered
from tests.support.learning.rounding import logit_error
from tests.support.learning.steps import counted, in_double, noisy, random_pixels, stand, step_data
from tests.support.learning.tiny_clip import tiny_clip

RECIPE = Recipe(sentences=6, sentence_length=6, precision=Precision.FP32, temperature=1.5)

DISTILLING = (Method.LWF, Method.VRLWF, Method.VRLWF_CROSS, Method.ZSCL)

WAYS = [  # the other methods have the loss of fine-tuning
    (method, part)
    for method in (Method.FT, *DISTILLING)
    for part in ModelPart
    if (method, part) != (Method.ZSCL, ModelPart.TEXT)
]


@pytest.fixture(autouse=True)
def still() -> Iterator[None]:
    with repeatable(0, device=torch.device("cpu"), threads=1):
        yield


def largest(gradients: dict[str, Tensor]) -> float:
    return max(gradient.abs().max().item() for gradient in gradients.values())


def rounding_of(recipe: Recipe, dtype: torch.dtype) -> float:
    """Bound a gradient's rounding error: that of a logit, as a share of what logits pull by.

    The cross entropy says how far: its probabilities are off by about one, not by a rounding.
    """
    model = tiny_clip()
    _, pulled = stand(altered(recipe, method=Method.FT, precision=Precision.FP32)).step()
    return logit_error(model, dtype) * largest(pulled)


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """Compare gradients up to the rounding of a logit, as a share of the largest element."""
    assert one.keys() == other.keys()
    within = logit_error(tiny_clip(), next(iter(one.values())).dtype) * largest(one)
    for name, gradient in one.items():
        torch.testing.assert_close(other[name], gradient, rtol=0, atol=within, msg=name)


@pytest.mark.parametrize(("method", "part"), [way for way in WAYS if way[0] in DISTILLING])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_while_student_and_teacher_are_equal_forgetting_costs_nothing(
    method: Method, part: ModelPart, precision: Precision
) -> None:
    recipe = altered(RECIPE, method=method, part=part, precision=precision)
    numbers, gradients = stand(recipe, only_distillation=True).step()
    if method is not Method.ZSCL:  # its cross entropies never fall below the teacher's entropy
        assert numbers["loss"] == pytest.approx(0, abs=logit_error(tiny_clip(), torch.float32))
    assert gradients
    assert largest(gradients) < rounding_of(recipe, torch.float32)


@pytest.mark.parametrize(("method", "part"), [way for way in WAYS if way[0] in DISTILLING])
def test_in_exact_arithmetic_it_costs_nothing_at_all(method: Method, part: ModelPart) -> None:
    recipe = altered(RECIPE, method=method, part=part)
    _, gradients = stand(recipe, parent=in_double(tiny_clip()), only_distillation=True).step()
    assert largest(gradients) < rounding_of(recipe, torch.float64)


@pytest.mark.parametrize(("method", "part"), [way for way in WAYS if way[0] in DISTILLING])
def test_against_another_teacher_every_distillation_pulls(method: Method, part: ModelPart) -> None:
    """Without this, a loss that is always zero would pass the tests above."""
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


@pytest.mark.parametrize("method", [Method.FT, *DISTILLING])
def test_parts_are_equal_up_to_rounding_in_fp32(method: Method) -> None:
    recipe = altered(RECIPE, method=method, teacher=TeacherPolicy.ROOT)
    (numbers, whole), (in_parts, parts) = (
        stand(replace(recipe, micro_batch=size), parent=noisy(tiny_clip()), root=tiny_clip()).step()
        for size in (0, 3)
    )
    error = logit_error(tiny_clip(), torch.float32)
    assert in_parts == pytest.approx(numbers, rel=error, abs=error)
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


def test_texts_go_through_the_student_once_and_through_no_teacher() -> None:
    made = stand(replace(RECIPE, micro_batch=2))
    (teacher,) = made.models.teachers
    with (
        counted(made.models.student.network.transformer) as own,
        counted(teacher.network.transformer) as old,
        counted(made.models.student.visual) as images,
    ):
        made.step()
    assert own == [3 + 6]  # the classes and the sentences
    assert old == []
    assert images == [2, 2, 2, 1]


def test_a_frozen_text_tower_is_not_run_at_all() -> None:
    made = stand(replace(RECIPE, part=ModelPart.IMAGE))
    with counted(made.models.student.network.transformer) as own:
        made.step()
    assert own == []


def test_a_frozen_image_tower_is_run_once_for_student_and_teacher() -> None:
    made = stand(replace(RECIPE, part=ModelPart.TEXT))
    with counted(made.models.student.visual) as own, counted(made.models.teachers[0].visual) as old:
        made.step()
    assert (own, old) == ([7], [])


def test_teachers_look_at_no_image_that_no_term_asks_them_about() -> None:
    """ZSCL's teacher sees the reference images, not the update's own."""
    made = stand(altered(RECIPE, method=Method.ZSCL))
    with counted(made.models.teachers[0].visual) as old:
        made.step(replace(step_data(5), reference=random_pixels(4)))
    assert old == [4]


@pytest.mark.parametrize("method", [Method.FT, Method.WISE, Method.IMM_MEAN, Method.REPLAY])
def test_methods_that_distil_nothing_have_no_teacher(method: Method) -> None:
    assert stand(altered(RECIPE, method=method)).models.teachers == ()


@pytest.mark.parametrize("part", [ModelPart.WHOLE, ModelPart.IMAGE])
def test_zscl_moves_only_the_image_tower(part: ModelPart) -> None:
    recipe = altered(RECIPE, method=Method.ZSCL, part=part, teacher=TeacherPolicy.ROOT)
    _, gradients = stand(
        recipe, parent=noisy(tiny_clip()), root=tiny_clip(), only_distillation=True
    ).step()
    moved = {name for name, gradient in gradients.items() if gradient.abs().max() > 0}
    assert moved
    assert all(name.startswith("visual.") for name in moved)


def test_zscl_without_an_image_tower_to_hold_is_refused() -> None:
    with pytest.raises(RecipeInvalid, match="image tower"):
        Recipe(method=Method.ZSCL, part=ModelPart.TEXT)


def test_shares_of_a_batch_add_up_to_the_whole() -> None:
    """Each rank reads a share; sums of gradients and numbers are then those of one rank."""
    made = [
        stand(RECIPE, parent=in_double(noisy(tiny_clip())), root=in_double(tiny_clip()))
        for _ in range(3)
    ]
    data = step_data()
    numbers, whole = made[0].step(data)
    shares = [
        one.step(
            replace(
                data,
                indices=data.indices[rank::2],
                pixels=data.pixels[rank::2],
                target=data.target[rank::2],
                share=len(data.target[rank::2]) / 7,
            )
        )
        for rank, one in enumerate(made[1:])
    ]
    (first, gradients), (second, others) = shares
    assert {name: first[name] + second[name] for name in first} == pytest.approx(numbers, rel=1e-6)
    assert_same(whole, {name: gradients[name] + others[name] for name in whole})


def test_a_rank_without_an_image_adds_nothing() -> None:
    numbers, gradients = stand(RECIPE).step(replace(step_data(0), share=0.0))
    assert set(numbers.values()) == {0.0}
    assert all(gradient.abs().sum() == 0 for gradient in gradients.values())
