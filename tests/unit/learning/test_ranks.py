"""Two processes that share every batch learn what one learns, up to rounding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.artifacts.local import LocalArtifacts
from core.clip.model import load, read_state
from core.errors import RanksDisagree, StopRequested, TrainingDiverged
from core.learning.distributed import Command, SingleRankProvider, repeatable
from core.learning.setup import prepare_run
from core.learning.statistics import FeatureStatistics
from core.learning.trainer import UpdateTrainer
from core.recipes.fields import Averaging, Method, ModelPart, Precision
from core.registry.versions import Weights
from core.scoring.evaluator import VersionEvaluator
from core.training.trainer import TrainingSpec
from core.values import Digest
from tests.support.learning.lessons import PRECISIONS, Watching, red_and_blue, with_recipe
from tests.support.learning.rank_twin import CPU, Twin, twin_of
from tests.support.learning.rounding import logit_error
from tests.support.learning.tiny_clip import stored, tiny_clip

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
def spec(artifacts: LocalArtifacts) -> TrainingSpec:
    """Batches of five images, so one rank has three and the other two.

    Adam's epsilon is large: it would make steps of the rounding where a gradient is zero.
    """
    green = artifacts.put(FeatureStatistics.of(torch.eye(16)[:3]).to_bytes())
    spec = replace(red_and_blue(artifacts), learned=("green",), feature_statistics={"green": green})
    return with_recipe(spec, precision=Precision.FP32, batch_size=5, epsilon=1e-2)


def gradients(
    spec: TrainingSpec, artifacts: LocalArtifacts, rank_provider: Twin | SingleRankProvider
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The first step's gradients and numbers, as rank 0 has them."""
    with rank_provider(spec, None, CPU) as ranks, repeatable(0, device=CPU, threads=1):
        prepared = prepare_run(spec, load(spec.parent, artifacts), artifacts, ranks=ranks)
        ranks.send_command(Command.STEP)
        numbers = prepared.update.gradients(prepared.reading.step(0))
        ranks.send_command(Command.END)
    parameters = prepared.update.models.parameters
    return {name: p.grad for name, p in parameters.items() if p.grad is not None}, numbers


def train(
    spec: TrainingSpec,
    artifacts: LocalArtifacts,
    rank_provider: Twin | None,
    monitor: Watching | None = None,
    resume: Digest | None = None,
) -> Weights:
    ask = VersionEvaluator(artifacts, device=CPU, threads=1).ask
    trainer = UpdateTrainer(artifacts, device=CPU, threads=1, ask=ask, rank_provider=rank_provider)
    return trainer.train(spec, resume=resume, monitor=monitor or Watching()).weights


@pytest.mark.parametrize(
    "changes",
    [
        {"method": Method.FT},
        {"method": Method.VRLWF},
        {"method": Method.VRLWF_CROSS, "micro_batch": 2},
        {"method": Method.ZSCL},
        {"method": Method.REPLAY, "exemplars": 3, "exemplar_batch": 2},
        {"method": Method.VRLWF_REPLAY, "exemplars": 3},
        {"method": Method.VRLWF_FEATURES, "exemplar_batch": 2},
        {"method": Method.VRLWF, "part": ModelPart.TEXT, "augment": False},
        {"method": Method.LWF, "part": ModelPart.IMAGE},
    ],
    ids=str,
)
def test_gradients_and_numbers_are_those_of_one_rank(
    changes: dict[str, Any], spec: TrainingSpec, artifacts: LocalArtifacts, twin: Twin
) -> None:
    spec = with_recipe(spec, **changes)
    alone, numbers = gradients(spec, artifacts, SingleRankProvider())
    shared, sums = gradients(spec, artifacts, twin)
    assert shared.keys() == alone.keys()
    error = logit_error(load(spec.parent, artifacts), torch.float32)
    size = max(float(gradient.abs().max()) for gradient in alone.values())
    for name, gradient in alone.items():
        torch.testing.assert_close(shared[name], gradient, rtol=0, atol=error * size)
    assert sums == pytest.approx(numbers, rel=error, abs=error)


def test_a_rank_without_images_adds_nothing(
    spec: TrainingSpec, artifacts: LocalArtifacts, twin: Twin
) -> None:
    one_image = replace(spec, images=spec.images[:1])
    alone, _ = gradients(one_image, artifacts, SingleRankProvider())
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
    changes: dict[str, Any],
    spec: TrainingSpec,
    artifacts: LocalArtifacts,
    twin: Twin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = with_recipe(spec, **changes)
    alone = read_state(train(spec, artifacts, None), artifacts)
    monkeypatch.setattr(twin, "told", replace(spec, selection=None))  # as a worker tells its ranks
    shared = read_state(train(spec, artifacts, twin, Watching(every=2)), artifacts)
    for name, value in alone.items():
        torch.testing.assert_close(shared[name], value, rtol=ROUNDING, atol=1e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_run_stopped_and_resumed_ends_in_the_digest_of_the_undisturbed_one(
    precision: Precision, spec: TrainingSpec, artifacts: LocalArtifacts, twin: Twin
) -> None:
    spec = with_recipe(spec, precision=precision)
    undisturbed = train(spec, artifacts, twin)
    monitor = Watching(every=1, stop_at=2)
    with pytest.raises(StopRequested):
        train(spec, artifacts, twin, monitor)
    resumed = Watching()
    kept = monitor.saved[-1][1]
    assert train(spec, artifacts, twin, resumed, kept).digest == undisturbed.digest
    assert len(resumed.terms) == 2


def test_all_ranks_stop_at_a_loss_that_is_no_number(
    spec: TrainingSpec, artifacts: LocalArtifacts, twin: Twin
) -> None:
    model = tiny_clip()
    model.network.state_dict()["visual.proj"][0, 0] = float("nan")
    with pytest.raises(TrainingDiverged) as caught:
        train(replace(spec, parent=stored(model, artifacts).digest), artifacts, twin)
    assert caught.value.facts == {"step": 0, "terms": {}}
    train(spec, artifacts, twin)  # neither waits for the other


def test_ranks_that_hold_other_weights_are_found_out(
    spec: TrainingSpec, artifacts: LocalArtifacts, twin: Twin
) -> None:
    twin.told = with_recipe(spec, learning_rate=1e-4)
    monitor = Watching(every=3)
    with pytest.raises(RanksDisagree):
        train(spec, artifacts, twin, monitor)
    assert len(monitor.terms) == 2
    assert not monitor.saved
    twin.told = None
