"""The student and its teachers: who they are, what they share, and with what weights they begin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from core.clip.model import ClipModel, load
from core.learning.distributed import repeatable
from core.learning.student import Batch, Models
from core.recipes.fields import Method, ModelPart, Precision, TeacherPolicy
from core.recipes.rules import Recipe
from core.training.trainer import TrainingSpec
from core.values import Digest
from tests.support.learning.lessons import (
    PARTS,
    PRECISIONS,
    altered,
    another_root,
    prepared,
    red_and_blue,
    with_recipe,
)
from tests.support.learning.steps import Stand, in_double, noisy, random_pixels, stand, step_data
from tests.support.learning.tiny_clip import tiny_clip
from tests.support.memory_artifacts import MemoryArtifacts

RECIPE = Recipe(sentences=6, sentence_length=6, precision=Precision.FP32)


@pytest.fixture(autouse=True)
def still() -> Iterator[None]:
    with repeatable(0, device=torch.device("cpu"), threads=1):
        yield


def later(recipe: Recipe, **moved: ClipModel) -> Stand:
    """A second update: the parent has moved away from the root."""
    return stand(recipe, **{"parent": noisy(tiny_clip()), "root": tiny_clip(), **moved})


def batch_of(made: Stand, pixels: Tensor) -> Batch:
    texts = made.models.texts(made.sentences, made.replayed)
    return made.models.batch(pixels, torch.zeros(len(pixels), dtype=torch.long), texts)


def vr_by_hand(student: ClipModel, teacher: ClipModel, sentences: Tensor) -> float:
    """L_vr of the batch that `step` reads, from two models that know nothing of each other."""
    pixels = step_data().pixels
    with torch.no_grad():
        v, v_teacher = (
            model.scale * model.encode_images(pixels) @ model.encode_tokens(sentences).T
            for model in (student, teacher)
        )
        q = v_teacher.softmax(dim=1)
        return float((q * (q.log() - v.softmax(dim=1).log())).sum(dim=1).mean())


@pytest.mark.parametrize(
    ("policy", "weights"),
    [
        (TeacherPolicy.PARENT, (1.0, 0.0)),
        (TeacherPolicy.ROOT, (0.0, 1.0)),
        (TeacherPolicy.BOTH, (0.5, 0.5)),
    ],
)
def test_a_later_update_is_held_to_whom_its_recipe_names(
    policy: TeacherPolicy, weights: tuple[float, float]
) -> None:
    """The student has moved on from its parent, so that both teachers differ from it."""
    recipe = replace(RECIPE, teacher=policy, replay_weight=1.0)
    made = later(recipe, parent=in_double(noisy(tiny_clip())), root=in_double(tiny_clip()))
    student, parent = (in_double(noisy(tiny_clip())) for _ in range(2))
    for model in (made.models.student, student):
        with torch.no_grad():
            model.network.get_parameter("visual.proj").mul_(-0.5)
            model.network.get_parameter("text_projection")[0] += 0.3
            model.logit_scale.fill_(3.0)
    numbers, _ = made.step()
    by_parent = vr_by_hand(student, parent, made.sentences)
    by_root = vr_by_hand(student, in_double(tiny_clip()), made.sentences)
    assert abs(by_parent - by_root) > 1e-4
    expected = weights[0] * by_parent + weights[1] * by_root
    assert numbers["vr"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("policy", TeacherPolicy)
def test_in_a_first_update_all_policies_have_one_teacher(policy: TeacherPolicy) -> None:
    made = stand(replace(RECIPE, teacher=policy))
    assert len(made.models.teachers) == 1
    assert made.step()[0]["vr"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("policy", TeacherPolicy)
@pytest.mark.parametrize("part", PARTS)
def test_nothing_of_a_teacher_takes_a_gradient_or_moves(
    policy: TeacherPolicy, part: ModelPart
) -> None:
    made = later(replace(RECIPE, teacher=policy, part=part))
    before = [
        [p.detach().clone() for p in teacher.network.parameters()]
        for teacher in made.models.teachers
    ]
    made.step()
    with torch.no_grad():
        for parameter in made.models.parameters.values():
            parameter.add_(1.0)
    for teacher, values in zip(made.models.teachers, before, strict=True):
        for parameter, value in zip(teacher.network.parameters(), values, strict=True):
            assert not parameter.requires_grad
            assert parameter.grad is None
            assert torch.equal(parameter, value)


@pytest.mark.parametrize(
    ("part", "visual", "textual"),
    [
        (ModelPart.WHOLE, True, True),
        (ModelPart.IMAGE, True, False),
        (ModelPart.TEXT, False, True),
    ],
)
def test_a_part_trains_its_tower_and_the_scale_and_shares_the_rest(
    part: ModelPart, visual: bool, textual: bool
) -> None:
    models = stand(replace(RECIPE, part=part)).models
    trained = set(models.parameters)
    assert "logit_scale" in trained
    assert ("visual.conv1.weight" in trained) is visual
    assert ("token_embedding.weight" in trained) is textual
    teacher = dict(models.teachers[0].network.named_parameters())
    for name, parameter in models.student.network.named_parameters():
        assert parameter.requires_grad is (name in trained)
        assert (teacher[name] is parameter) is (name not in trained)


@pytest.mark.parametrize("method", [Method.VRLWF, Method.FT])
def test_a_student_with_a_frozen_text_tower_reads_by_its_own_not_by_the_roots(
    method: Method,
) -> None:
    recipe = altered(RECIPE, method=method, part=ModelPart.IMAGE, teacher=TeacherPolicy.ROOT)
    made = later(recipe)
    batch = batch_of(made, random_pixels(4))
    roots = [(tiny_clip(), teacher) for teacher in batch.teachers]
    assert len(roots) == (method is Method.VRLWF)
    with torch.no_grad():
        for model, features in ((noisy(tiny_clip()), batch.student), *roots):
            if made.sentences.numel():
                sentences = model.encode_tokens(made.sentences)
                torch.testing.assert_close(features.sentences, sentences)
            prompts = model.encode_tokens(made.models.class_tokens)
            torch.testing.assert_close(features.classes, prompts)
    for _, root in roots:
        assert (batch.student.sentences - root.sentences).abs().max() > 1e-3


def test_a_frozen_image_tower_is_shared_with_a_root_only_where_it_is_the_same() -> None:
    recipe = replace(RECIPE, part=ModelPart.TEXT, teacher=TeacherPolicy.ROOT)
    of_texts = noisy(tiny_clip(), lambda name: not name.startswith("visual."))
    same = batch_of(later(recipe, parent=of_texts), random_pixels(4))
    assert same.teachers[0].images is same.student.images
    with torch.no_grad():
        expected = tiny_clip().encode_images(random_pixels(4))
    for parent in (noisy(tiny_clip()), noisy(tiny_clip(), "visual.proj".__eq__)):
        other = batch_of(later(recipe, parent=parent), random_pixels(4))
        torch.testing.assert_close(other.teachers[0].images, expected)
        assert (other.student.images - expected).abs().max() > 1e-3


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_tower_runs_in_the_same_arithmetic(precision: Precision) -> None:
    batch = batch_of(stand(replace(RECIPE, precision=precision)), random_pixels(4))
    assert torch.equal(batch.student.images, batch.teachers[0].images)
    assert {row.dtype for row in (batch.student.images, batch.student.classes)} == {torch.float32}


@pytest.fixture
def spec(artifacts: MemoryArtifacts) -> TrainingSpec:
    """A second update with exemplars."""
    root = another_root(artifacts)
    return replace(red_and_blue(artifacts), learned=("green",), root=root)


def tensors(digest: Digest, artifacts: MemoryArtifacts) -> dict[str, Tensor]:
    return dict(load(digest, artifacts).network.named_parameters())


def models_of(spec: TrainingSpec, artifacts: MemoryArtifacts, **recipe: Any) -> Models:
    spec = with_recipe(spec, method=Method.VRLWF_REPLAY, **recipe)
    return prepared(artifacts, spec).update.models


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("part", PARTS)
def test_only_the_students_trained_tensors_start_between_parent_and_root(
    part: ModelPart, share: float, spec: TrainingSpec, artifacts: MemoryArtifacts
) -> None:
    both = TeacherPolicy.BOTH
    models = models_of(spec, artifacts, part=part, warm_start=share, teacher=both)
    parent, root = (tensors(digest, artifacts) for digest in (spec.parent, spec.root))
    for name, value in models.student.network.named_parameters():
        if name not in models.parameters or share == 1:
            assert torch.equal(value, parent[name])
        else:
            between = root[name].lerp(parent[name], share) if share else root[name]
            assert torch.equal(value, between)
    for teacher, state in zip(models.teachers, (parent, root), strict=True):
        for name, value in teacher.network.named_parameters():
            assert torch.equal(value, state[name])


@pytest.mark.parametrize(("exemplars", "share"), [(9, 1.0), (0, 0.0)])
def test_an_update_whose_exemplars_are_gone_starts_from_its_parent(
    exemplars: int, share: float, spec: TrainingSpec, artifacts: MemoryArtifacts
) -> None:
    gone = replace(spec, exemplars=())
    models = models_of(gone, artifacts, exemplars=exemplars, warm_start=0.0, feature_replay=0)
    start = tensors(spec.parent if share else spec.root, artifacts)
    assert all(torch.equal(value, start[name]) for name, value in models.parameters.items())
