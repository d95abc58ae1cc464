"""An update on a GPU: the CPU's losses, repeatable to the bit, resumable: `make test-gpu`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
import torch

from core.clip.machine import AUTO, find_devices
from core.errors import RecipeInvalid, StopRequested
from core.learning.statistics import FeatureStatistics
from core.learning.trainer import UpdateTrainer
from core.recipes.fields import Method, ModelPart, Precision
from core.recipes.rules import Recipe
from core.training.trainer import TrainingSpec
from tests.support.learning.lessons import (
    PARTS,
    PRECISIONS,
    StoppingAsItSaves,
    Watching,
    red_and_blue,
    trainer_of,
    with_recipe,
)
from tests.support.learning.towers import config_of
from tests.support.memory_artifacts import MemoryArtifacts

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

# Adam's epsilon is large: it would make steps of the rounding where a gradient is zero.
COMPARABLE = {"precision": Precision.FP32, "epsilon": 1e-4}


@pytest.fixture
def artifacts() -> MemoryArtifacts:
    return MemoryArtifacts()


@pytest.fixture
def spec(artifacts: MemoryArtifacts) -> TrainingSpec:
    green = artifacts.put(FeatureStatistics.of(torch.eye(16)[:3]).to_bytes())
    return replace(red_and_blue(artifacts), learned=("green",), feature_statistics={"green": green})


def losses(artifacts: MemoryArtifacts, spec: TrainingSpec, device: str) -> list[float]:
    monitor = Watching()
    trainer_of(artifacts, device=device).train(spec, resume=None, monitor=monitor)
    return [terms["loss"] for terms in monitor.terms]


def parts(method: Method) -> Iterator[ModelPart]:
    """The parts that a method can train."""
    for part in PARTS:
        with suppress(RecipeInvalid):
            yield Recipe(method=method, part=part).part


@pytest.mark.parametrize(
    ("method", "part"), [(method, part) for method in Method for part in parts(method)]
)
def test_every_method_has_the_cpus_losses(
    artifacts: MemoryArtifacts, spec: TrainingSpec, method: Method, part: ModelPart
) -> None:
    same = with_recipe(spec, method=method, part=part, **COMPARABLE)
    on_cpu, on_cuda = losses(artifacts, same, "cpu"), losses(artifacts, same, "cuda")
    assert on_cuda == pytest.approx(on_cpu, rel=1e-3)


def test_the_top_of_an_image_tower_has_the_cpus_losses(artifacts: MemoryArtifacts) -> None:
    spec = red_and_blue(artifacts, config_of("timm with dropout"))  # a ConvNeXt
    top = with_recipe(spec, part=ModelPart.TOP, augment=False, **COMPARABLE)
    on_cpu, on_cuda = losses(artifacts, top, "cpu"), losses(artifacts, top, "cuda")
    assert on_cuda == pytest.approx(on_cpu, rel=1e-3)


def test_every_step_tells_the_most_memory_that_tensors_have_held(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    monitor = Watching()
    trainer_of(artifacts, device="cuda").train(spec, resume=None, monitor=monitor)
    assert monitor.terms[-1]["device_mib"] >= monitor.terms[0]["device_mib"] > 0


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_run_repeats_to_the_bit_and_so_does_a_resumed_one(
    artifacts: MemoryArtifacts, spec: TrainingSpec, precision: Precision
) -> None:
    spec = with_recipe(spec, precision=precision)
    on_cuda = trainer_of(artifacts, device="cuda")
    whole = on_cuda.train(spec, resume=None, monitor=Watching())
    stopped = StoppingAsItSaves(every=2)
    with pytest.raises(StopRequested):
        on_cuda.train(spec, resume=None, monitor=stopped)
    _, checkpoint = stopped.saved[-1]
    resumed = on_cuda.train(spec, resume=checkpoint, monitor=Watching())
    assert resumed.weights.digest == whole.weights.digest


def test_auto_takes_the_gpu_and_goes_on_where_the_checkpoint_was_written(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    devices, spec = find_devices(AUTO), with_recipe(spec, precision=Precision.FP32)
    assert devices.chosen == torch.device("cuda", 0)
    found_one = UpdateTrainer(artifacts, device=devices.chosen, others=devices.others, threads=1)
    for device in ("cpu", "cuda"):
        whole = trainer_of(artifacts, device=device).train(spec, resume=None, monitor=Watching())
        stopped, monitor = StoppingAsItSaves(every=2), Watching()
        with pytest.raises(StopRequested):
            trainer_of(artifacts, device=device).train(spec, resume=None, monitor=stopped)
        resumed = found_one.train(spec, resume=stopped.saved[-1][1], monitor=monitor)
        assert (resumed.weights.digest, monitor.told) == (whole.weights.digest, [])
    cpu_alone, monitor = trainer_of(artifacts, device="cpu"), Watching()
    inexact = cpu_alone.train(spec, resume=stopped.saved[-1][1], monitor=monitor)
    assert len(inexact.environments) == 2
    assert [kind for kind, _ in monitor.told] == ["environment_changed"]


def test_micro_batches_and_recomputing_change_no_number(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    exact = with_recipe(spec, **COMPARABLE)
    frugal = with_recipe(exact, micro_batch=3, gradient_checkpointing=True)
    assert losses(artifacts, frugal, "cuda") == pytest.approx(
        losses(artifacts, exact, "cuda"), rel=1e-4
    )
