"""A-GEM: no step may make the memory's loss worse."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmarks.baselines import AGem, Memory, project
from core.errors import ModelNotTrainable, StopRequested
from core.learning.trainer import UpdateTrainer
from core.recipes.fields import Method
from core.training.trainer import TrainingSpec
from tests.support.learning.lessons import Watching, red_and_blue, with_recipe
from tests.support.learning.train_baselines import CPU, prepared, train
from tests.support.memory_artifacts import MemoryArtifacts

torch.set_num_threads(1)


@pytest.fixture
def artifacts() -> MemoryArtifacts:
    return MemoryArtifacts()


@pytest.fixture
def spec(artifacts: MemoryArtifacts) -> TrainingSpec:
    return replace(red_and_blue(artifacts), learned=("green",))


def test_projection_removes_what_points_against_the_memory() -> None:
    own = [torch.tensor([1.0, 2.0]), torch.tensor([[-2.0]])]
    reference = [torch.tensor([0.0, 1.0]), torch.tensor([[3.0]])]
    assert project(own, reference)  # g·g_r = -4, g_r·g_r = 10
    torch.testing.assert_close(own, [torch.tensor([1.0, 2.4]), torch.tensor([[-0.8]])])
    dot = sum((a * b).sum() for a, b in zip(own, reference, strict=True))
    assert abs(float(dot)) < 1e-6
    squared = sum(float(a.square().sum()) for a in own)
    assert squared == pytest.approx(9 - 16 / 10)  # |g|² - (g·g_r)² / |g_r|²


@pytest.mark.parametrize("reference", [[[1.0, 0.0]], [[0.0, 0.0]], [[-2.0, 1.0]]])
def test_without_conflict_the_gradient_stays(reference: list[list[float]]) -> None:
    own = [torch.tensor([1.0, 2.0])]
    assert not project(own, [torch.tensor(row) for row in reference])
    assert own[0].tolist() == [1, 2]


def test_the_memory_is_read_and_not_the_current_batch(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    """With the batch as its own memory g·g_r is never negative, and nothing is projected."""
    opposed = replace(
        spec,
        learned=("red", "blue"),
        exemplars=tuple(
            replace(entry, texts=("blue" if entry.class_name == "red" else "red",))
            for entry in spec.images
        ),
        reference=(),
    )
    against = train("a_gem", artifacts, opposed).notes
    along = train("a_gem", artifacts, replace(opposed, exemplars=spec.images)).notes
    assert against["steps"] == along["steps"] == 4
    assert against["remembered"] == along["remembered"] == len(spec.images)
    assert against["projected"] > along["projected"]


@pytest.mark.parametrize("kind", ["pairs", "exemplars"])
def test_a_projected_step_does_not_raise_the_memorys_loss_to_first_order(
    kind: str, artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    """And each kind of memory has a say of its own."""
    kept = replace(spec, exemplars=()) if kind == "pairs" else replace(spec, reference=())
    update, _ = prepared("a_gem", artifacts, kept)
    method = update._gradients.method
    assert isinstance(method, AGem)
    parameters = update.models.parameters
    loss = method._memory.loss(0)
    reference = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
    assert sum(float(g.abs().sum()) for g in reference) > 0
    for parameter, opposite in zip(parameters.values(), reference, strict=True):
        parameter.grad = -opposite + 0.01 * torch.ones_like(opposite)
    method.adjust(parameters, 0)
    after = [p.grad for p in parameters.values() if p.grad is not None]
    dot = sum(float((a * b).sum()) for a, b in zip(after, reference, strict=True))
    size = sum(float(b.square().sum()) for b in reference)
    assert abs(dot) < 1e-5 * size


def test_a_gem_that_should_remember_and_cannot_is_refused(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    with pytest.raises(ModelNotTrainable):
        train("a_gem", artifacts, replace(spec, exemplars=(), reference=spec.reference[:1]))


def test_the_first_of_all_updates_has_nothing_to_remember(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    first = replace(spec, learned=(), reference=())
    trained = train("a_gem", artifacts, first)
    plain = UpdateTrainer(artifacts, device=CPU, threads=1).train(
        with_recipe(first, method=Method.FT), resume=None, monitor=Watching()
    )
    assert trained.notes == {"remembered": 0, "steps": 4, "projected": 0}
    assert trained.weights.digest == plain.weights.digest


def test_what_is_remembered_at_a_step_outlives_a_restart(
    artifacts: MemoryArtifacts, spec: TrainingSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    loss = Memory.loss

    def noting(self: Memory, step: int) -> Tensor:
        steps.append(step)
        return loss(self, step)

    monkeypatch.setattr(Memory, "loss", noting)
    monitor = Watching(every=1, stop_at=3)
    with pytest.raises(StopRequested):
        train("a_gem", artifacts, spec, monitor)
    _, kept = monitor.saved[-1]
    train("a_gem", artifacts, spec, resume=kept)
    assert steps == [0, 1, 2, 3]
