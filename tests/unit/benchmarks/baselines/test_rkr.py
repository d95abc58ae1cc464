"""RKR: only rectifications train, and what is published is one plain model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmarks.baselines import BASELINES, linear_weights
from core.clip.model import ClipModel, load
from core.learning import student as losses
from core.recipes.fields import ModelPart, Precision, Schedule
from core.training.trainer import TrainingSpec
from tests.support.learning.lessons import PRECISIONS, red_and_blue, with_recipe
from tests.support.learning.train_baselines import prepared, train
from tests.support.memory_artifacts import MemoryArtifacts

torch.set_num_threads(1)

TOWERS = {
    ModelPart.WHOLE: (True, False),
    ModelPart.IMAGE: (True,),
    ModelPart.TEXT: (False,),
}


@pytest.fixture
def artifacts() -> MemoryArtifacts:
    return MemoryArtifacts()


@pytest.fixture
def spec(artifacts: MemoryArtifacts) -> TrainingSpec:
    return red_and_blue(artifacts)


def linear(model: ClipModel) -> dict[str, bool]:
    """The names of the linear weights, and whether each is transposed."""
    names = [name for name, _ in model.network.named_parameters()]
    found = linear_weights(model.network, names)
    return {name: transposed for name, _, _, transposed in found}


def rectified(W: Tensor, A: Tensor, B: Tensor, s: Tensor, transposed: bool) -> Tensor:
    matrix = W.T if transposed else W.flatten(1)
    result = (1 + s[:, None]) * (matrix + A @ B)
    return (result.T if transposed else result).reshape(W.shape)


def not_called() -> None:
    raise AssertionError


@pytest.mark.parametrize("part", ModelPart)
def test_only_the_linear_weights_of_the_trained_part_change(
    part: ModelPart, artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    trained = train("rkr", artifacts, with_recipe(spec, part=part))
    parent, child = (load(d, artifacts) for d in (spec.parent, trained.weights.digest))
    expected = {name for name in linear(parent) if name.startswith("visual.") in TOWERS[part]}
    old, new = parent.network.state_dict(), child.network.state_dict()
    assert old.keys() == new.keys()
    assert {name for name in old if not torch.equal(old[name], new[name])} == expected
    assert trained.notes == {"rectified": len(expected)}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_published_weights_are_the_rectified_ones_and_their_correction_has_low_rank(
    precision: Precision, artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    update, data = prepared("rkr", artifacts, with_recipe(spec, precision=precision))
    for step in data:
        update.advance(step)
    trained = {name: p.detach().clone() for name, p in update.models.parameters.items()}
    update.conclude(not_called, not_called)
    parent, network = load(spec.parent, artifacts), update.models.student.network
    assert trained.keys() == {f"{name}.{leaf}" for name in linear(parent) for leaf in "ABs"}
    for name, transposed in linear(parent).items():
        W, new = parent.network.get_parameter(name), network.get_parameter(name)
        A, B, s = (trained[f"{name}.{leaf}"] for leaf in "ABs")
        assert torch.equal(new, rectified(W, A, B, s, transposed))
        assert s.abs().min() > 0
        scaled, old = (w.detach().double() for w in (new, W))
        scaled, old = (w.T if transposed else w.flatten(1) for w in (scaled, old))
        values = torch.linalg.svdvals(scaled / (1 + s.double()[:, None]) - old)
        assert values[0] > 1e-4
        assert values[4:].max() < 1e-6


def test_an_update_without_steps_returns_the_weights_of_the_update_before(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    first = train("rkr", artifacts, spec).weights.digest
    assert first != spec.parent
    update, _ = prepared("rkr", artifacts, replace(spec, parent=first))
    update.conclude(not_called, not_called)
    before = load(first, artifacts).network.state_dict()
    after = update.models.student.network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


class Logits(nn.Module):
    """A CLIP model as a function of its parameters."""

    def __init__(self, model: ClipModel) -> None:
        super().__init__()
        self.model, self.network = model, model.network

    def forward(self, pixels: Tensor, tokens: Tensor) -> Tensor:
        images, classes = self.model.encode_images(pixels), self.model.encode_tokens(tokens)
        return losses.logits(images, classes, self.model.scale)


def test_its_steps_are_those_of_adam_on_the_formula(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    lesson = with_recipe(spec, epochs=3, schedule=Schedule.CONSTANT, epsilon=1e-4, clip_norm=0.5)
    update, data = prepared("rkr", artifacts, lesson)
    naive = load(spec.parent, artifacts)
    naive.freeze()
    parent = {name: naive.network.get_parameter(name).detach() for name in linear(naive)}
    ours = {name: p.detach().clone() for name, p in update.models.parameters.items()}
    for value in ours.values():
        value.requires_grad_()
    rate = BASELINES["rkr"].recipe["learning_rate"]
    adam = torch.optim.Adam(ours.values(), lr=rate, eps=1e-4)
    tokens = naive.tokenise(spec.prompt.fill_all(spec.classes))
    function = Logits(naive)
    steps = list(data)
    assert len(steps) > 4
    for step in steps:
        update.advance(step)
        weights = {
            f"network.{name}": rectified(W, *(ours[f"{name}.{leaf}"] for leaf in "ABs"), flipped)
            for (name, W), flipped in zip(parent.items(), linear(naive).values(), strict=True)
        }
        logits = functional_call(function, weights, (step.pixels, tokens))
        losses.cross_entropy(logits, step.target).backward()
        norm = nn.utils.clip_grad_norm_(ours.values(), 0.5)
        assert norm > 0.5
        adam.step()
        adam.zero_grad()
    for name, value in update.models.parameters.items():
        torch.testing.assert_close(value, ours[name], atol=1e-5, rtol=1e-3, msg=name)
