"""Mode-IMM: weights are mixed by how sharply each is determined."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from benchmarks import baselines as imm_mode
from benchmarks.baselines import FLOOR, ModeImm, fisher, merge
from core.clip.model import load
from core.learning.trainer import UpdateTrainer
from core.learning.vocabulary import Columns
from core.recipes.fields import Method
from core.recipes.rules import Recipe
from core.training.trainer import TrainingSpec
from tests.support.learning.lessons import Watching, red_and_blue, with_recipe
from tests.support.learning.train_baselines import CPU, train
from tests.support.memory_artifacts import MemoryArtifacts

torch.set_num_threads(1)


@pytest.fixture
def artifacts() -> MemoryArtifacts:
    return MemoryArtifacts()


@pytest.fixture
def spec(artifacts: MemoryArtifacts) -> TrainingSpec:
    return replace(red_and_blue(artifacts), learned=("green",))


def test_the_merge_is_the_formula_by_hand() -> None:
    new, old = {"w": torch.tensor([1.0, 1.0, 5.0])}, {"w": torch.tensor([0.0, 0.0, 3.0])}
    sharp_new, sharp_old = {"w": torch.tensor([3.0, 0.0, 0.0])}, {"w": torch.tensor([1.0, 2.0, 0])}
    merged = merge(new, old, (sharp_new, sharp_old), 0.25)["w"]
    floor = FLOOR * 1.0  # the mean of 3, 0, 0, 1, 2, 0
    first = 0.25 * 3 / (0.25 * 3 + 0.75 * 1)
    second = 0.25 * floor / (0.25 * floor + 0.75 * 2)
    plain = 0.25 * 5 + 0.75 * 3
    torch.testing.assert_close(merged, torch.tensor([first, second, plain]))


@pytest.mark.parametrize("group", [1, 8])
def test_the_fisher_of_a_logistic_model_is_known(group: int) -> None:
    """p = σ(w·x): F_j is the mean of p (1 − p) x_j², whatever the size of the groups."""
    generator = torch.Generator().manual_seed(5)
    inputs = 0.5 + torch.rand(1000 * group, 2, generator=generator)
    w = nn.Parameter(torch.tensor([1.5, -0.5]))

    def log_probabilities(rows: Tensor) -> Tensor:
        score = rows @ w
        return torch.stack([nn.functional.logsigmoid(score), nn.functional.logsigmoid(-score)], 1)

    found = fisher(log_probabilities, {"w": w}, inputs.split(group), generator)["w"]
    p = torch.sigmoid(inputs @ w.detach())
    expected = ((p * (1 - p))[:, None] * inputs.square()).mean(0)
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0)
    assert w.grad is None


def test_each_model_is_measured_on_what_it_learned(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    assert train("imm_mode", artifacts, spec).notes == {"fisher_images": {"new": 10, "old": 8}}


def test_each_fisher_is_taken_at_its_own_models_weights(
    artifacts: MemoryArtifacts, spec: TrainingSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def noting(
        log_probabilities: Callable[[Tensor], Tensor],
        parameters: Mapping[str, Tensor],
        groups: Iterable[Tensor],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        seen.append(parameters["visual.proj"].detach().clone())
        return fisher(log_probabilities, parameters, groups, generator)

    monkeypatch.setattr(imm_mode, "fisher", noting)
    trained = train("imm_mode", artifacts, spec)
    parent = load(spec.parent, artifacts).network.get_parameter("visual.proj")
    new, old = seen
    assert torch.equal(old, parent)
    assert not torch.equal(new, parent)
    merged = load(trained.weights.digest, artifacts).network.get_parameter("visual.proj")
    between = (merged >= new.minimum(old) - 1e-6) & (merged <= new.maximum(old) + 1e-6)
    assert between.all()


def test_an_old_model_without_images_is_averaged_plainly(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    first = replace(spec, learned=(), reference=())
    trained = train("imm_mode", artifacts, first)
    assert trained.notes == {"fisher_images": {"new": 0, "old": 0}}
    mean = UpdateTrainer(artifacts, device=CPU, threads=1)
    plain = mean.train(with_recipe(first, method=Method.IMM_MEAN), resume=None, monitor=Watching())
    assert trained.weights.digest == plain.weights.digest


@pytest.mark.parametrize("mixing", [0.0, 1.0])
def test_the_ends_of_the_mixing_are_the_two_models(
    mixing: float, artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    trained = train("imm_mode", artifacts, with_recipe(spec, mixing=mixing))
    ft = UpdateTrainer(artifacts, device=CPU, threads=1)
    tuned = ft.train(with_recipe(spec, method=Method.FT), resume=None, monitor=Watching())
    assert trained.weights.digest == (tuned.weights.digest if mixing else spec.parent)


def test_fewer_images_are_enough(artifacts: MemoryArtifacts, spec: TrainingSpec) -> None:
    def make(recipe: Recipe, columns: Columns) -> ModeImm:
        return ModeImm(recipe, columns, images=3, group=2)

    trainer = UpdateTrainer(artifacts, device=CPU, threads=1, make_method=make)
    trained = trainer.train(spec, resume=None, monitor=Watching())
    assert trained.notes == {"fisher_images": {"new": 3, "old": 3}}
