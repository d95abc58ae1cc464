"""Mixing new weights with old ones: ends to the bit, by the best validation, layer by layer."""

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
from core.clip.model import ClipModel, load
from core.errors import ModelNotTrainable
from core.evaluation.answers import ClassAnswers, RetrievalAnswers
from core.learning.methods import LearningMethod
from core.learning.mixing import SHARES, TrainingEnd, layer_groups, mix, mix_to_fit
from core.learning.optimisation import trained_parameters
from core.learning.run import score
from core.learning.vocabulary import Columns
from core.recipes.fields import Averaging, Method, MixingChoice, ModelPart, TeacherPolicy
from core.recipes.rules import Recipe
from core.scoring.evaluator import VersionEvaluator
from core.training.trainer import Selection, TrainingSpec
from core.values import Json
from tests.support.learning.lessons import PARTS, Watching, tensors, train, trained, with_recipe
from tests.support.learning.tiny_clip import tiny_clip
from tests.support.learning.towers import TOWERS, config_of
from tests.support.memory_artifacts import MemoryArtifacts


@pytest.mark.parametrize("part", ModelPart)
@pytest.mark.parametrize("tower", [None, *TOWERS])
def test_every_trained_parameter_is_in_one_group(tower: str | None, part: ModelPart) -> None:
    model = tiny_clip(config=config_of(tower) if tower else None)
    names = list(trained_parameters(model, part))
    groups = layer_groups(names)
    assert sorted(name for group in groups.values() for name in group) == sorted(names)
    assert all(groups.values())
    *_, last = groups.values()
    assert "logit_scale" in last
    assert {group.split()[0] for group in groups} == {
        ModelPart.WHOLE: {"text", "image"},
        ModelPart.IMAGE: {"image"},
        ModelPart.TEXT: {"text"},
        ModelPart.TOP: {"text", "image"} if (tower or "").startswith("timm") else {"text"},
    }[part]


def test_blocks_that_are_few_enough_stay_alone_and_others_are_joined_evenly() -> None:
    def blocks(count: int) -> list[int]:
        names = [f"visual.transformer.resblocks.{n}.ln_1.weight" for n in range(count)]
        return [len(group) for group in layer_groups(names).values()]

    assert blocks(1) == [1]
    assert blocks(6) == [1] * 6
    assert blocks(7) == [1, 1, 1, 1, 1, 2]
    assert blocks(32) == [5, 5, 6, 5, 5, 6]


def test_a_tower_without_known_blocks_has_a_group_for_each_top_level_child() -> None:
    children = ["stem", "s1", "s2", "final", "head"]
    names = [f"visual.trunk.{child}.b{n}.weight" for child in children for n in (1, 2)]
    groups = layer_groups(["odd", *names, "logit_scale"])
    joined = layer_groups(f"visual.part{n}.weight" for n in range(12))
    assert list(joined) == [f"image part{n} to part{n + 1}" for n in range(0, 12, 2)]
    assert list(groups) == ["text odd", *(f"image {child}" for child in children)]
    assert groups["image s1"] == ["visual.trunk.s1.b1.weight", "visual.trunk.s1.b2.weight"]
    assert groups["image head"][-1] == "logit_scale"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            [
                "embeddings.word_embeddings.weight",
                "encoder.layer.0.attention.self.query.weight",
                "encoder.layer.1.output.dense.weight",
            ],
            ["stem", "layer.0", "layer.1", "head"],
        ),
        (
            [
                "embed_tokens.weight",
                "block.0.layer.0.SelfAttention.q.weight",
                "block.0.layer.1.DenseReluDense.wo.weight",
                "final_layer_norm.weight",
            ],
            ["stem", "block.0", "head"],
        ),
        (
            [
                "embed_tokens.weight",
                "layers.0.fc1.weight",
                "layers.1.fc1.weight",
                "layer_norm.bias",
            ],
            ["stem", "layers.0", "layers.1", "head"],
        ),
    ],
    ids=["roberta", "mt5", "nllb"],
)
def test_text_towers_of_transformers_have_groups_by_depth(
    names: list[str], expected: list[str]
) -> None:
    whole = [*(f"text.transformer.{name}" for name in names), "text.proj.weight"]
    assert list(layer_groups(whole)) == [f"text {layer}" for layer in expected]


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
    recipe: Recipe,
    new: Mapping[str, Tensor],
    old: Mapping[str, Tensor],
    score_of: Callable[[Mapping[str, nn.Parameter]], tuple[float, float]],
) -> Ended:
    parameters = {name: nn.Parameter(value.clone()) for name, value in new.items()}
    ending = TrainingEnd(
        parameters=parameters, anchor=lambda: old, score=lambda: score_of(parameters)
    )
    notes = LearningMethod(recipe, Columns.of(recipe, ("a", "b"), (), ())).conclude(ending)
    return Ended(
        parameters={name: value.detach() for name, value in parameters.items()}, notes=notes
    )


def searched(score_of: Callable[[Shares], tuple[float, float]]) -> Ended:
    """A student of one number a layer, which is the layer's share."""
    ones = {name: torch.ones((), dtype=torch.float64) for name in LAYERS.values()}
    zeros = {name: torch.zeros((), dtype=torch.float64) for name in LAYERS.values()}

    def score_parameters(parameters: Mapping[str, nn.Parameter]) -> tuple[float, float]:
        return score_of({layer: parameters[name].item() for layer, name in LAYERS.items()})

    found = concluded(RECIPE, ones, zeros, score_parameters)
    values = {layer: found.parameters[name].item() for layer, name in LAYERS.items()}
    assert values == found.shares
    return found


def validated(score_of: Callable[[float], tuple[float, float]]) -> tuple[float, Json]:
    """A student of one number, which is its share, that was mixed by its validation scores."""
    one, zero = ({"p": torch.full((), value, dtype=torch.float64)} for value in (1.0, 0.0))
    wise = Recipe(method=Method.WISE)
    found = concluded(wise, one, zero, lambda student: score_of(student["p"].item()))
    return found.parameters["p"].item(), found.notes


def seen(model: ClipModel, artifacts: MemoryArtifacts | None = None) -> DecodedImages:
    """Images as a model sees them when it is asked."""
    return DecodedImages(artifacts or MemoryArtifacts(), model.preprocess.evaluation_pixels)


@pytest.mark.parametrize(("share", "end"), [(0.0, "old"), (1.0, "new")])
def test_shares_of_nothing_and_all_give_the_ends_to_the_bit(share: float, end: str) -> None:
    generator = torch.Generator().manual_seed(0)
    ends: Mapping[str, Tensor] = {
        name: torch.randn(1000, generator=generator) * 10 for name in ("new", "old")
    }
    ends["new"][:2], ends["old"][:2] = torch.tensor([3e38, -0.0]), torch.tensor([-3e38, -0.0])
    parameter = nn.Parameter(torch.zeros(1000))
    mix({"p": parameter}, {"p": ends["new"]}, {"p": ends["old"]}, share)
    assert torch.equal(parameter.detach().view(torch.int32), ends[end].view(torch.int32))


@pytest.mark.parametrize("averaging", Averaging)
def test_an_update_is_mixed_with_its_parent_by_the_recipes_share(
    averaging: Averaging, artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    """An average is mixed, not the last step."""
    averaged = with_recipe(spec, averaging=averaging, averaging_decay=0.5)
    tuned = train(artifacts, with_recipe(averaged, method=Method.FT)).digest
    made = {
        share: train(artifacts, with_recipe(averaged, method=Method.IMM_MEAN, mixing=share)).digest
        for share in (0.0, 0.3, 1.0)
    }
    assert (made[0.0], made[1.0]) == (spec.parent, tuned)
    new, old, mixed = (tensors(artifacts, one) for one in (tuned, spec.parent, made[0.3]))
    assert all(torch.equal(value, old[name].lerp(new[name], 0.3)) for name, value in mixed.items())


def test_wise_keeps_the_share_that_validates_best() -> None:
    def score_of(value: float) -> tuple[float, float]:
        return value, 1 - (value - 0.3) ** 2  # their sum is best at 0.8

    value, notes = validated(score_of)
    assert value == pytest.approx(0.8)
    assert notes["mixing"] == 0.8
    assert [row["mixing"] for row in notes["tried"]] == [n / 10 for n in range(11)]
    for row in notes["tried"]:
        assert (row["new"], row["kept"]) == pytest.approx(score_of(row["mixing"]))


@pytest.mark.parametrize(
    ("score_of", "best"),
    [
        (lambda value: (float(value > 0.35), 0.5), 0.4),
        (lambda value: (0.1 + 0.2 if value > 0.35 else 0.3, 0.0), 0.0),  # equal but for rounding
    ],
)
def test_of_equals_wise_takes_the_smaller_share(
    score_of: Callable[[float], tuple[float, float]], best: float
) -> None:
    value, notes = validated(score_of)
    assert notes["mixing"] == best
    assert value == pytest.approx(best)


def fitted(excess: Callable[[float], str], share: float | None = None) -> tuple[float, Json]:
    """A student of one number, which is its share, that was shrunk to what fits."""
    one, zero = ({"p": torch.full((), value, dtype=torch.float64)} for value in (1.0, 0.0))
    student = {"p": nn.Parameter(one["p"].clone())}

    def asked(tried: float) -> str:
        assert student["p"].item() == pytest.approx(tried)
        return excess(tried)

    notes = mix_to_fit(
        TrainingEnd(
            parameters=student,
            anchor=lambda: zero,
            score=lambda: (0.0, 0.0),
            excess=asked,
            share=share,
        )
    )
    return student["p"].item(), notes


@pytest.mark.parametrize("most", [n / 10 for n in range(1, 11)])
def test_an_update_is_shrunk_to_the_largest_share_that_fits(most: float) -> None:
    value, notes = fitted(lambda share: "emoji" if share > most else "")
    assert (value, notes["mixing"]) == (pytest.approx(most), most)
    tried = {row["mixing"]: row["exceeded"] for row in notes["tried"]}
    assert tried == {n / 10: "emoji" if n / 10 > most else "" for n in range(round(most * 10), 11)}
    assert ("emoji" in notes["shrunk"]) == (most < 1)


def test_where_no_share_fits_the_smallest_is_kept_and_it_says_so() -> None:
    value, notes = fitted(lambda share: f"emoji at {share:g}")
    assert (value, notes["mixing"]) == (pytest.approx(0.1), 0.1)
    assert "even so" in notes["shrunk"]
    assert "emoji at 0.1" in notes["shrunk"]


@pytest.mark.parametrize("seed", range(20))
def test_the_largest_share_that_fits_is_found_also_where_smaller_ones_do_not(seed: int) -> None:
    fitting = {n for n in range(1, 11) if random.Random(seed * 100 + n).random() < 0.3}
    _, notes = fitted(lambda share: "" if round(share * 10) in fitting else "emoji")
    assert round(notes["mixing"] * 10) == max(fitting, default=1)


def test_a_repeated_update_takes_the_share_of_the_first_and_asks_nothing() -> None:
    def unasked(share: float) -> str:
        raise AssertionError(share)

    assert fitted(unasked, share=0.3) == (pytest.approx(0.3), {"mixing": 0.3})


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_an_update_is_shrunk_towards_its_parent_whatever_its_teacher(
    share: float, artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    spec = replace(spec, parent=train(artifacts, spec).digest)
    assert spec.parent != spec.root
    tuned = with_recipe(spec, method=Method.FT, teacher=TeacherPolicy.ROOT)
    shrunk = replace(with_recipe(tuned, mixing_choice=MixingChoice.FIT), share=share)
    new, old, mixed = (
        tensors(artifacts, one)
        for one in (
            train(artifacts, tuned).digest,
            spec.parent,
            train(artifacts, shrunk).digest,
        )
    )
    for name, value in mixed.items():
        expected = old[name].lerp(new[name], share) if share < 1 else new[name]
        assert torch.equal(value, expected)


def test_a_captioned_suite_counts_with_the_mean_of_both_directions(
    artifacts: MemoryArtifacts, spec: TrainingSpec
) -> None:
    assert spec.selection is not None
    answers = [
        ClassAnswers(predicted=(0,) * 10),
        ClassAnswers(predicted=(0, 0, 1, 1)),
        RetrievalAnswers(image_ranks=(0, 0, 1, 1), caption_ranks=(0, 9, 9, 9)),
    ]
    model = load(spec.parent, artifacts)
    new, kept = score(model, spec.selection, lambda *_, **__: answers, Watching(), seen(model))
    assert new == pytest.approx(0.5)
    assert kept == pytest.approx((0.5 + (0.5 + 0.25) / 2) / 2)
    alone = Selection(new=spec.selection.new, kept=())
    found = score(model, alone, lambda *_, **__: answers[:1], Watching(), seen(model))
    assert found == (new, 0)


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
    assert len(concluded(RECIPE, ones, zeros, middling).notes["tried"]) == 75


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("teacher", TeacherPolicy)
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
            if shares[layer] < 1:
                expected[name] = old[name].lerp(expected[name], shares[layer])
    for name, value in tensors(artifacts, version.weights.digest).items():
        assert torch.equal(value, expected[name])

    assert spec.selection is not None
    ask = VersionEvaluator(artifacts, device=CPU, threads=1).ask
    scores = score(model, spec.selection, ask, Watching(), seen(model, artifacts))
    tried = version.notes["tried"]
    assert sum(scores) == pytest.approx(max(row["new"] + row["kept"] for row in tried))
    began = [phase for phase, step, _ in monitor.steps if phase == "evaluating" and step == 0]
    assert len(began) == len(tried)  # each evaluation renews the lease


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
