"""Mixing by a share for each group of layers, chosen on validation parts."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.clip.inputs import DecodedImages
from core.clip.model import load
from core.errors import ModelNotTrainable
from core.learning.methods import LearningMethod
from core.learning.mixing import SHARES, TrainingEnd, layer_groups
from core.learning.optimisation import trained_parameters
from core.learning.run import score
from core.learning.vocabulary import Columns
from core.recipes.fields import Method, MixingChoice, ModelPart, TeacherPolicy
from core.recipes.rules import Recipe
from core.scoring.evaluator import VersionEvaluator
from core.training.trainer import TrainingSpec
from core.values import Json
from tests.support.learning.lessons import Watching, tensors, train, trained, with_recipe
from tests.support.memory_artifacts import MemoryArtifacts

CPU = torch.device("cpu")

RECIPE = Recipe(method=Method.FT, mixing_choice=MixingChoice.PER_LAYER)

LAYERS = {  # one parameter of each group, first layer to last
    "text stem": "token_embedding.weight",
    "text resblocks.0": "transformer.resblocks.0.ln_1.weight",
    "text head": "ln_final.weight",
    "image resblocks.0": "visual.transformer.resblocks.0.ln_1.weight",
    "image head": "visual.proj",
}

Shares = Mapping[str, float]  # by layer


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A student after its method's end."""

    parameters: Mapping[str, Tensor]
    notes: Json

    @property
    def shares(self) -> dict[str, float]:
        return {row["layer"]: row["mixing"] for row in self.notes["layers"]}


def concluded(
    new: Mapping[str, Tensor],
    old: Mapping[str, Tensor],
    score_of: Callable[[Mapping[str, nn.Parameter]], tuple[float, float]],
) -> Ended:
    parameters = {name: nn.Parameter(value.clone()) for name, value in new.items()}
    ending = TrainingEnd(
        parameters=parameters, anchor=lambda: old, score=lambda: score_of(parameters)
    )
    notes = LearningMethod(RECIPE, Columns.of(RECIPE, ("a", "b"), (), ())).conclude(ending)
    return Ended(
        parameters={name: value.detach() for name, value in parameters.items()}, notes=notes
    )


def searched(score_of: Callable[[Shares], tuple[float, float]]) -> Ended:
    """A student of one number a layer, which is the layer's share."""
    ones = {name: torch.ones((), dtype=torch.float64) for name in LAYERS.values()}
    zeros = {name: torch.zeros((), dtype=torch.float64) for name in LAYERS.values()}

    def score_parameters(parameters: Mapping[str, nn.Parameter]) -> tuple[float, float]:
        return score_of({layer: parameters[name].item() for layer, name in LAYERS.items()})

    found = concluded(ones, zeros, score_parameters)
    values = {layer: found.parameters[name].item() for layer, name in LAYERS.items()}
    assert values == found.shares
    return found


def total(scores: Json) -> float:
    return float(scores["new"] + scores["kept"])


@pytest.mark.parametrize("seed", range(20))
def test_on_a_score_that_is_a_sum_over_layers_the_search_finds_the_best_of_all_combinations(
    seed: int,
) -> None:
    generator = random.Random(seed)
    best_new = {layer: generator.random() for layer in LAYERS}
    best_kept = {layer: generator.random() for layer in LAYERS}

    def score_of(shares: Shares) -> tuple[float, float]:
        new = sum((shares[layer] - best_new[layer]) ** 2 for layer in LAYERS)
        kept = sum((shares[layer] - best_kept[layer]) ** 2 for layer in LAYERS)
        return 1 - new / 5, 1 - kept / 5

    def summed(shares: Shares) -> float:
        return sum(score_of(shares))

    whole = max(SHARES, key=lambda share: summed(dict.fromkeys(LAYERS, share)))
    near = {round(min(1, max(0, whole + step)), 1) for step in (-0.2, 0, 0.2)}
    combinations = product(sorted({0.0, 1.0} | near), repeat=len(LAYERS))
    best = max((dict(zip(LAYERS, shares, strict=True)) for shares in combinations), key=summed)
    found = searched(score_of)
    assert found.notes["mixing"] == whole
    assert found.shares == best
    assert len(set(best.values())) > 1


def test_layers_are_tried_once_from_the_last_to_the_first_and_notes_have_every_score() -> None:
    def score_of(shares: Shares) -> tuple[float, float]:
        first, *others = shares.values()
        return first, 1 - sum(abs(share - 0.5) for share in others)  # the first one is best at 1

    found = searched(score_of)
    assert found.notes["mixing"] == 0.5
    assert found.shares == {**dict.fromkeys(LAYERS, 0.5), "text stem": 1.0}
    assert [(row["layer"], row["mixing"]) for row in found.notes["tried"][11:]] == [
        (layer, share) for layer in reversed(LAYERS) for share in (0.0, 0.3, 0.7, 1.0)
    ]
    for row in found.notes["tried"][11:]:
        shares = {**dict.fromkeys(LAYERS, 0.5), row["layer"]: row["mixing"]}
        assert (row["new"], row["kept"]) == score_of(shares)


def test_ties_keep_the_share_a_layer_has_and_of_equal_gains_the_smaller_share_is_kept() -> None:
    assert searched(lambda shares: (0.5, 0.5)).shares == dict.fromkeys(LAYERS, 0.0)
    sums = iter([0.3] * 11 + [0.1 + 0.2] * 99)  # equal but for rounding
    assert searched(lambda shares: (next(sums), 0.0)).shares == dict.fromkeys(LAYERS, 0.0)

    def gains(shares: Shares) -> tuple[float, float]:
        others = [share for layer, share in shares.items() if layer != "image head"]
        return float(shares["image head"] > 0.1), float(not any(others))

    found = searched(gains)
    assert found.notes["mixing"] == 0.0
    assert found.shares == {**dict.fromkeys(LAYERS, 0.0), "image head": 0.2}


def test_a_large_model_is_evaluated_at_most_75_times() -> None:
    names = [
        *(f"{tower}transformer.resblocks.{n}.w" for tower in ("", "visual.") for n in range(24)),
        *("token_embedding.weight", "ln_final.weight", "visual.conv1.weight", "visual.proj"),
    ]
    ones, zeros = ({name: torch.full((), value) for name in names} for value in (1.0, 0.0))

    def middling(parameters: Mapping[str, nn.Parameter]) -> tuple[float, float]:
        return 1 - sum(abs(value.item() - 0.5) for value in parameters.values()) / 100, 0.0

    assert len(layer_groups(names)) == 16
    assert len(concluded(ones, zeros, middling).notes["tried"]) == 75


# ---- Updates --------------------------------------------------------------------------------


def mean(new: Tensor, old: Tensor, share: float) -> Tensor:
    return {0.0: old, 1.0: new}.get(share, old.lerp(new, share))


@pytest.mark.parametrize("part", ModelPart)
@pytest.mark.parametrize("teacher", [TeacherPolicy.PARENT, TeacherPolicy.ROOT])
def test_an_update_is_the_mean_that_its_notes_say_and_has_the_best_score_of_those_tried(
    part: ModelPart, teacher: TeacherPolicy, artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    spec = replace(spec, parent=train(artifacts, spec).digest)
    tuned = with_recipe(spec, method=Method.FT, part=part, teacher=teacher, epochs=4)
    mixed = with_recipe(tuned, mixing_choice=MixingChoice.PER_LAYER)
    monitor = Watching()
    version = trained(artifacts, mixed, monitor)
    old = tensors(artifacts, spec.root if teacher is TeacherPolicy.ROOT else spec.parent)
    expected = tensors(artifacts, train(artifacts, tuned).digest)
    shares = {row["layer"]: row["mixing"] for row in version.notes["layers"]}
    model = load(version.weights.digest, artifacts)
    groups = layer_groups(trained_parameters(model, part))
    assert list(shares) == list(groups)
    for layer, names in groups.items():
        for name in names:
            expected[name] = mean(expected[name], old[name], shares[layer])
    for name, value in tensors(artifacts, version.weights.digest).items():
        assert torch.equal(value, expected[name])

    assert spec.selection is not None
    decoded = DecodedImages(artifacts, model.preprocess.evaluation_pixels)
    ask = VersionEvaluator(artifacts, device=CPU, threads=1).ask
    scores = score(model, spec.selection, ask, Watching(), decoded)
    assert sum(scores) == pytest.approx(max(map(total, version.notes["tried"])))
    began = [phase for phase, step, _ in monitor.steps if phase == "evaluating" and step == 0]
    assert len(began) == len(version.notes["tried"])  # each evaluation renews the lease


@pytest.mark.parametrize(
    "changes", [{"method": Method.WISE}, {"mixing_choice": MixingChoice.PER_LAYER}]
)
def test_without_validation_parts_the_update_is_refused_before_the_first_step(
    changes: dict[str, Any], artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    monitor = Watching()
    with pytest.raises(ModelNotTrainable) as refusal:
        train(artifacts, replace(with_recipe(spec, **changes), selection=None), monitor)
    assert refusal.value.pointer == "/recipe/mixing_choice"
    assert not monitor.terms
