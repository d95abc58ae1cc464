"""The weights that training starts from, between the parent's and the root's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from core.clip.model import load
from core.learning.student import Models
from core.recipes.fields import Method, ModelPart, TeacherPolicy
from core.training.trainer import TrainingSpec
from core.values import Digest
from tests.support.learning.lessons import (
    another_root,
    prepared,
    red_and_blue,
    with_recipe,
)
from tests.support.memory_artifacts import MemoryArtifacts


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
@pytest.mark.parametrize("part", ModelPart)
def test_only_the_trained_tensors_start_between_parent_and_root(
    part: ModelPart, share: float, spec: TrainingSpec, artifacts: MemoryArtifacts
) -> None:
    models = models_of(spec, artifacts, part=part, warm_start=share)
    parent, root = (tensors(digest, artifacts) for digest in (spec.parent, spec.root))
    for name, value in models.student.network.named_parameters():
        if name not in models.parameters or share == 1:
            assert torch.equal(value, parent[name])
        else:
            between = root[name].lerp(parent[name], share) if share else root[name]
            assert torch.equal(value, between)


@pytest.mark.parametrize("policy", TeacherPolicy)
def test_teachers_keep_their_weights(
    policy: TeacherPolicy, spec: TrainingSpec, artifacts: MemoryArtifacts
) -> None:
    models = models_of(spec, artifacts, teacher=policy, warm_start=0.25)
    expected = {
        TeacherPolicy.PARENT: [spec.parent],
        TeacherPolicy.ROOT: [spec.root],
        TeacherPolicy.BOTH: [spec.parent, spec.root],
    }[policy]
    assert len(models.teachers) == len(expected)
    for teacher, digest in zip(models.teachers, expected, strict=True):
        state = tensors(digest, artifacts)
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
