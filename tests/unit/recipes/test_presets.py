"""Presets: values to start from, which a recipe's own fields override."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from core.errors import RecipeInvalid
from core.recipes.fields import Averaging, Method, Precision, Schedule, TeacherPolicy
from core.recipes.presets import PRESETS
from core.recipes.rules import Recipe


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_recipe_and_is_stored_spelled_out(name: str) -> None:
    recipe = Recipe.from_json({"preset": name})
    assert {field: recipe.to_json()[field] for field in PRESETS[name]} == dict(PRESETS[name])
    assert "preset" not in recipe.to_json()
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_the_recipes_own_fields_override_the_preset() -> None:
    recipe = Recipe.from_json({"preset": "released", "epochs": 2, "seed": 10})
    assert (recipe.epochs, recipe.seed, recipe.learning_rate) == (2, 10, 1e-6)


@pytest.mark.parametrize("name", ["best", "", None, 1, ["released"]])
def test_an_unknown_preset_is_answered_with_the_known_ones(name: Any) -> None:
    with pytest.raises(RecipeInvalid, match="released, vit_b_32, vit_l_14_24gb, zscl") as caught:
        Recipe.from_json({"preset": name})
    assert caught.value.pointer == "/recipe/preset"


def test_a_presets_own_values_are_checked_with_the_rest() -> None:
    with pytest.raises(RecipeInvalid) as caught:
        Recipe.from_json({"preset": "released", "epochs": 0})
    assert caught.value.pointer == "/recipe/epochs"


def test_the_released_preset_moves_as_the_released_trainer_does() -> None:
    """Clipping a gradient scaled by 2^16 to norm 1 is a unit gradient and an epsilon 2^16 up."""
    recipe = Recipe.from_json({"preset": "released"})
    scale, moved = 2.0**16, []
    for epsilon, factor in ((1e-8, 1 / scale), (recipe.epsilon, 1.0)):
        weight = torch.nn.Parameter(torch.zeros(1000, dtype=torch.float64))
        rule = torch.optim.Adam([weight], lr=recipe.learning_rate, eps=epsilon)
        generator = torch.Generator().manual_seed(0)
        for size in (1e-4, 1.0, 300.0):
            gradient = size * torch.randn(1000, generator=generator, dtype=torch.float64)
            weight.grad = factor * gradient / gradient.norm()
            rule.step()
        moved.append(weight.detach())
    torch.testing.assert_close(moved[0], moved[1], rtol=1e-12, atol=0)
    assert (recipe.unit_gradient, recipe.clip_norm) == (True, 1.0)
    assert math.isclose(recipe.epsilon, 6.55e-4, rel_tol=1e-3)


def test_zscl_averages_and_distils_from_the_root() -> None:
    recipe = Recipe.from_json({"preset": "zscl"})
    assert (recipe.method, recipe.teacher) == (Method.ZSCL, TeacherPolicy.ROOT)
    assert (recipe.averaging, recipe.averaging_every) == (Averaging.RUNNING, 100)
    assert (recipe.temperature, recipe.schedule) == (2.0, Schedule.COSINE)


@pytest.mark.parametrize("name", ["vit_b_32", "vit_l_14_24gb"])
def test_large_models_do_not_follow_the_bundled_models_rate_and_weight(name: str) -> None:
    assert PRESETS[name].keys() >= {"learning_rate", "replay_weight"}
    assert Recipe.from_json({"preset": name}).learning_rate <= Recipe().learning_rate / 10


def test_the_large_preset_reads_a_batch_in_parts() -> None:
    recipe = Recipe.from_json({"preset": "vit_l_14_24gb"})
    assert (recipe.batch_size, recipe.micro_batch) == (64, 16)
    assert recipe.gradient_checkpointing


@pytest.mark.parametrize("name", [None, *PRESETS])
def test_precision_is_the_devices_own_unless_a_preset_repeats_what_was_published(
    name: str | None,
) -> None:
    recipe = Recipe.from_json({"preset": name} if name else {})
    assert recipe.precision is (Precision.FP32 if name == "released" else Precision.AUTO)
