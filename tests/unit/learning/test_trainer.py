"""Training by the trainer: it learns what it is asked to, and stops when it must."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.clip.model import load
from core.errors import CancelRequested, ClassInvalid, ModelNotTrainable, TooFewClasses
from core.learning.methods import leading
from core.recipes.fields import Method, Precision, Schedule, Vocabulary
from core.registry.versions import ServingPrecision, Weights, in_precision
from core.training.trainer import TrainingSpec
from tests.support.learning.lessons import Watching, prepared, red_and_blue, train, with_recipe
from tests.support.learning.tiny_clip import CONFIG, stored, tiny_clip
from tests.support.memory_artifacts import MemoryArtifacts


@pytest.mark.parametrize("method", Method)
def test_the_loss_falls_and_the_classes_are_told_apart(
    method: Method, artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    monitor = Watching()
    light = {"replay_weight": 0.1, "lwf_weight": 0.1}
    epochs = 60 if method is Method.VRLWF_FEATURES else 15  # of the text tower alone
    train(artifacts, with_recipe(spec, method=method, epochs=epochs, **light), monitor)
    assert monitor.terms[-1]["ce"] < 0.5 * monitor.terms[0]["ce"]
    assert monitor.terms[-1]["accuracy"] == 1


def test_every_step_is_told_with_its_terms(artifacts: MemoryArtifacts, spec: TrainingSpec) -> None:
    monitor = Watching()
    train(artifacts, replace(spec, learned=("green",)), monitor)
    assert [step for phase, step, _ in monitor.steps if phase == "training"] == [1, 2, 3, 4]
    assert {total for phase, _, total in monitor.steps if phase == "training"} == {4}
    assert {"loss", "ce", "vr", "lwf", "accuracy", "scale", "images_per_second", "waited"} == set(
        monitor.terms[0]
    )
    assert [phase for phase, _, _ in monitor.steps][:2] == ["loading", "loading"]
    assert monitor.steps[-1][0] == "publishing"


def test_the_child_of_a_version_in_bf16_is_trained_in_fp32_and_is_in_bf16(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    parent = Weights.from_bytes(artifacts.get(spec.parent))
    half = artifacts.put(in_precision(parent, ServingPrecision.BF16).to_bytes())
    usual, made = train(artifacts, spec), train(artifacts, replace(spec, parent=half))
    assert made == in_precision(usual, ServingPrecision.BF16)
    assert made.digest != usual.digest
    assert {tensor.dtype for tensor in made.tensors} == {"F32"}


def test_a_projected_update_leaves_the_leading_directions_as_they_are(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    monitor = Watching()
    trained = train(artifacts, with_recipe(spec, projection=0.5), monitor)
    old, new = (load(digest, artifacts).network for digest in (spec.parent, trained.digest))
    moved = 0.0
    for name, parameter in old.named_parameters():
        if parameter.ndim == 2 and min(parameter.shape) > 1:
            before, after = parameter.detach(), new.get_parameter(name).detach()
            left, _ = leading(before, 0.5)
            # Each step rounds each weight twice, and a row of the product sums over all rows.
            bound = 2 * len(monitor.terms) * 2**-24 * after.abs().max() * len(after)
            assert (left.T @ (after - before)).abs().max() <= bound
            moved = max(moved, float((after - before).abs().max()))
    assert moved > 1e-3


def test_a_cancelled_run_publishes_nothing(artifacts: MemoryArtifacts, spec: TrainingSpec) -> None:
    before = set(artifacts.digests())
    with pytest.raises(CancelRequested):
        train(artifacts, spec, Watching(stop_at=2, stop_with=CancelRequested))
    assert set(artifacts.digests()) == before


def test_what_cannot_be_learned_is_refused_before_the_first_step(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    monitor = Watching()
    with pytest.raises(TooFewClasses):
        train(artifacts, replace(spec, classes=("red",)), monitor)
    with pytest.raises(ClassInvalid):
        train(artifacts, replace(spec, classes=(*spec.classes, "<end_of_text>")), monitor)
    with pytest.raises(ModelNotTrainable):
        train(artifacts, with_recipe(spec, vocabulary=Vocabulary.TRAINED), monitor)
    with pytest.raises(ModelNotTrainable):
        train(artifacts, with_recipe(spec, sentence_length=40), monitor)
    assert not monitor.terms


def moves(artifacts: MemoryArtifacts, spec: TrainingSpec) -> list[Tensor]:
    """The change that each step makes to all weights that train."""
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


def test_the_scale_of_a_model_with_a_logit_bias_has_no_limit(artifacts: MemoryArtifacts) -> None:
    """The bias goes with the scale, so a step must not jump back to a hundred."""
    config = {**CONFIG, "model_cfg": {**CONFIG["model_cfg"], "init_logit_bias": -9}}
    model = tiny_clip(config=config)
    model.logit_scale.data.fill_(5.0)
    parent = stored(model, artifacts)
    spec = replace(red_and_blue(artifacts), parent=parent.digest, root=parent.digest)
    version = load(train(artifacts, with_recipe(spec, epochs=1)).digest, artifacts)
    assert version.scale.item() > 140
