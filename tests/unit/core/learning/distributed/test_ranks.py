"""Two processes that share every batch learn what one learns, up to rounding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.adapters.artifacts.local import LocalArtifacts
from core.clip.weights import load, publish, read_state
from core.domain.recipes.recipe import Averaging, Method, ModelPart, Precision
from core.domain.registry.version import Weights
from core.domain.values import Digest
from core.errors import RanksDisagree, StopRequested, TrainingDiverged
from core.evaluation.evaluator import VersionEvaluator
from core.learning.determinism import repeatable
from core.learning.distributed.ranks import Cue, GatherNobody
from core.learning.setup import begin
from core.learning.trainer import UpdateTrainer
from core.ports import TrainingTask
from tests.support.learning.lessons import PRECISIONS, Watching, red_and_blue, with_recipe
from tests.support.learning.rank_twin import CPU, Twin, twin_of
from tests.support.rounding import logit_error
from tests.support.tiny_clip import tiny_config

ROUNDING = 1e-5  # relative, of fp32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture(scope="module")
def artifacts(folder: Path) -> LocalArtifacts:
    return LocalArtifacts(folder)


@pytest.fixture(scope="module")
def twin(folder: Path) -> Iterator[Twin]:
    with twin_of(folder) as twin:
        yield twin
        twin.told = None


@pytest.fixture(scope="module")
def task(artifacts: LocalArtifacts) -> TrainingTask:
    """Batches of five images, so one rank has three and the other two.

    Adam's epsilon is large: it would make steps of the rounding where a gradient is zero.
    """
    task = replace(red_and_blue(artifacts), learned=("green",))
    return with_recipe(task, precision=Precision.FP32, batch_size=5, epsilon=1e-2)


def gradients(
    task: TrainingTask, artifacts: LocalArtifacts, gather: Twin | GatherNobody
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The first step's gradients and numbers, as rank 0 has them."""
    with gather(task, None) as ranks, repeatable(0, device=CPU, threads=1):
        begun = begin(task, load(task.parent, artifacts), artifacts, ranks=ranks)
        ranks.lead(Cue.STEP)
        numbers = begun.update.gradients(begun.reading.step(0))
        ranks.lead(Cue.END)
    parameters = begun.update.models.parameters
    return {name: p.grad for name, p in parameters.items() if p.grad is not None}, numbers


def train(
    task: TrainingTask,
    artifacts: LocalArtifacts,
    gather: Twin | None,
    watch: Watching | None = None,
    resume: Digest | None = None,
) -> Weights:
    ask = VersionEvaluator(artifacts, device=CPU, threads=1).ask
    trainer = UpdateTrainer(artifacts, device=CPU, threads=1, ask=ask, gather=gather)
    return trainer.train(task, resume=resume, watch=watch or Watching()).weights


@pytest.mark.parametrize(
    "changes",
    [
        {"method": Method.FT},
        {"method": Method.VRLWF},
        {"method": Method.VRLWF_CROSS, "micro_batch": 2},
        {"method": Method.ZSCL},
        {"method": Method.REPLAY, "exemplars": 3, "exemplar_batch": 2},
        {"method": Method.VRLWF, "part": ModelPart.TEXT, "augment": False},
        {"method": Method.LWF, "part": ModelPart.IMAGE},
    ],
    ids=str,
)
def test_gradients_and_numbers_are_those_of_one_rank(
    changes: dict[str, Any], task: TrainingTask, artifacts: LocalArtifacts, twin: Twin
) -> None:
    task = with_recipe(task, **changes)
    alone, numbers = gradients(task, artifacts, GatherNobody())
    shared, sums = gradients(task, artifacts, twin)
    assert shared.keys() == alone.keys()
    error = logit_error(load(task.parent, artifacts), torch.float32)
    size = max(float(gradient.abs().max()) for gradient in alone.values())
    for name, gradient in alone.items():
        torch.testing.assert_close(shared[name], gradient, rtol=0, atol=error * size)
    assert sums == pytest.approx(numbers, rel=error, abs=error)


def test_a_rank_without_images_adds_nothing(
    task: TrainingTask, artifacts: LocalArtifacts, twin: Twin
) -> None:
    one_image = replace(task, images=task.images[:1])
    alone, _ = gradients(one_image, artifacts, GatherNobody())
    shared, _ = gradients(one_image, artifacts, twin)
    assert all(torch.equal(shared[name], gradient) for name, gradient in alone.items())


@pytest.mark.parametrize(
    "changes",
    [
        {"method": Method.FT},
        {"method": Method.VRLWF, "averaging": Averaging.RUNNING},
        {"method": Method.ZSCL},
        {"method": Method.WISE},
    ],
    ids=str,
)
def test_weights_are_those_of_one_rank(
    changes: dict[str, Any], task: TrainingTask, artifacts: LocalArtifacts, twin: Twin
) -> None:
    task = with_recipe(task, **changes)
    alone = read_state(train(task, artifacts, None), artifacts)
    shared = read_state(train(task, artifacts, twin, Watching(every=2)), artifacts)
    for name, value in alone.items():
        torch.testing.assert_close(shared[name], value, rtol=ROUNDING, atol=1e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_run_stopped_and_resumed_ends_in_the_digest_of_the_undisturbed_one(
    precision: Precision, task: TrainingTask, artifacts: LocalArtifacts, twin: Twin
) -> None:
    task = with_recipe(task, precision=precision)
    undisturbed = train(task, artifacts, twin)
    watch = Watching(every=1, stop_at=2)
    with pytest.raises(StopRequested):
        train(task, artifacts, twin, watch)
    resumed = Watching()
    kept = watch.saved[-1][1]
    assert train(task, artifacts, twin, resumed, kept).digest == undisturbed.digest
    assert len(resumed.terms) == 2


def test_all_ranks_stop_at_a_loss_that_is_no_number(
    task: TrainingTask, artifacts: LocalArtifacts, twin: Twin
) -> None:
    state = read_state(Weights.from_bytes(artifacts.get(task.parent)), artifacts)
    state["visual.proj"][0, 0] = float("nan")
    bad = publish(tiny_config(), state, artifacts, lambda done, total: None)
    with pytest.raises(TrainingDiverged):
        train(replace(task, parent=bad.digest), artifacts, twin)
    train(task, artifacts, twin)  # neither waits for the other


def test_rank_0_alone_needs_what_a_share_is_chosen_by(
    task: TrainingTask, artifacts: LocalArtifacts, twin: Twin
) -> None:
    wise = with_recipe(task, method=Method.WISE)
    twin.told = replace(wise, selection=None)  # as a worker tells its ranks
    try:
        shared = read_state(train(wise, artifacts, twin), artifacts)
    finally:
        twin.told = None
    alone = read_state(train(wise, artifacts, None), artifacts)
    for name, value in shared.items():
        torch.testing.assert_close(value, alone[name], rtol=ROUNDING, atol=1e-6)


def test_ranks_that_hold_other_weights_are_found_out(
    task: TrainingTask, artifacts: LocalArtifacts, twin: Twin
) -> None:
    twin.told = with_recipe(task, learning_rate=1e-4)
    watch = Watching(every=3)
    with pytest.raises(RanksDisagree):
        train(task, artifacts, twin, watch)
    assert len(watch.terms) == 2
    assert not watch.saved
    twin.told = None
