"""Every model that can be taught has a default recipe, by its architecture and size."""

import json
from math import prod
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors import safe_open

from core.clip.bases import BUNDLED
from core.clip.model import empty_network
from core.errors import RecipeUnsafe
from core.recipes.defaults import DefaultRecipe
from core.recipes.rules import Recipe
from core.registry.architecture import is_resnet, require_recipe_fits, untrainable_reason
from core.registry.default_recipe import default_recipe
from core.registry.text_towers import text_config
from core.registry.versions import TensorEntry, Weights
from core.values import Digest

CONFIGS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_bytes())
    for path in (Path(open_clip.__file__).parent / "model_configs").glob("*.json")
}
TAUGHT = {name: config for name, config in CONFIGS.items() if not untrainable_reason(config)}

BASE = {"learning_rate": 1e-5, "optimiser": "adamw", "replay_weight": 2.0}
LARGE = BASE | {"batch_size": 64, "micro_batch": 16, "gradient_checkpointing": True}

SIZES = {"small": 9e6, "base": 150e6, "large": 430e6, "huge": 1e9}


def test_the_bundled_models_default_is_the_general_one_as_it_always_was() -> None:
    config = json.loads((BUNDLED / "open_clip_config.json").read_bytes())["model_cfg"]
    with safe_open(next(BUNDLED.glob("*.safetensors")), "numpy") as weights:
        names = weights.keys()
        parameters = sum(prod(weights.get_slice(name).get_shape()) for name in names)
    assert 8e6 < parameters < 10e6
    default = default_recipe(config, parameters)
    assert (default.name, default.fields) == ("small", {})
    recipe = default.complete({})
    assert recipe == Recipe()
    tuned = (recipe.learning_rate, recipe.replay_weight, recipe.epochs, recipe.batch_size)
    assert tuned == (3e-4, 12.0, 6, 100)
    assert (recipe.optimiser, recipe.schedule, recipe.warm_start) == ("adam", "cosine", 0.5)
    assert "bundled" in default.source


@pytest.mark.parametrize("size", SIZES)
def test_every_architecture_that_can_be_taught_supports_its_default(size: str) -> None:
    assert len(TAUGHT) == 140
    for name, config in TAUGHT.items():
        default = default_recipe(config, round(SIZES[size]))
        expected = {"small": {}, "base": BASE}.get(size, LARGE)
        if is_resnet(config):
            expected = {k: v for k, v in expected.items() if k != "gradient_checkpointing"}
        assert (default.name, default.fields) == (size, expected), name
        require_recipe_fits({"model_cfg": config}, default.complete({}))
        assert default.source


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("ViT-S-32-alt", "base"),
        ("RN50", "base"),
        ("ViT-B-32", "base"),
        ("EVA02-B-16", "base"),
        ("ViT-B-16-plus-240", "base"),
        ("RN50x16", "base"),
        ("ViT-B-16-SigLIP", "base"),
        ("ViT-B-16-SigLIP2", "base"),  # more than half of its weights are the vocabulary's
        ("ViT-B-16-SigLIP-i18n-256", "base"),
        ("xlm-roberta-base-ViT-B-32", "base"),
        ("nllb-clip-base", "base"),
        ("ViT-L-14", "large"),
        ("ViT-L-16-SigLIP2-256", "large"),
        ("RN50x64", "large"),
        ("ViT-H-14", "huge"),
        ("ViT-bigG-14", "huge"),
    ],
)
def test_a_size_is_that_of_the_towers_without_the_vocabulary(name: str, size: str) -> None:
    with torch.device("meta"):
        network = empty_network({"model_cfg": TAUGHT[name], **text_config(TAUGHT[name])})
    tensors = [
        TensorEntry(name=name, dtype="F32", shape=tuple(one.shape), digest=Digest(""), size=0)
        for name, one in network.state_dict().items()
    ]
    weights = Weights(config={}, tensors=tuple(tensors))
    assert default_recipe(TAUGHT[name], weights.tower_parameters).name == size


def test_the_source_says_what_the_recipe_rests_on() -> None:
    def source(name: str, size: str) -> str:
        return default_recipe(CONFIGS[name], round(SIZES[size])).source

    assert "literature" in source("ViT-B-32", "base")
    assert "literature" in source("ViT-L-14", "large")
    for name, size, family in (
        ("RN50", "base", "a ResNet"),
        ("convnext_base", "base", "timm"),
        ("RN50x64", "large", "a ResNet"),
        ("ViT-B-16-SigLIP", "base", "a sigmoid loss"),
        ("xlm-roberta-base-ViT-B-32", "base", "a text tower of transformers"),
    ):
        assert source(name, size).startswith("By size, not measured"), name
        assert family in source(name, size), name
    assert source("ViT-H-14", "huge").startswith("By size, not measured")


def test_fields_of_an_order_win_and_a_preset_takes_the_place_of_the_default() -> None:
    default = default_recipe(CONFIGS["ViT-L-14"], 430_000_000)
    assert default.complete({}).to_json().items() >= LARGE.items()
    other = default.complete({"learning_rate": 2e-5, "method": "lwf"})
    assert (other.learning_rate, other.optimiser, other.batch_size) == (2e-5, "adamw", 64)
    assert default.complete({"preset": "released"}) == Recipe.from_json({"preset": "released"})


def test_a_rate_of_more_than_ten_times_the_defaults_is_unsafe() -> None:
    for rate, fields in ((3e-4, {}), (1e-5, BASE)):
        default = DefaultRecipe(name="x", source="", fields=fields)
        default.require_safe(Recipe(learning_rate=10 * rate))
        default.require_safe(Recipe(learning_rate=rate / 100))
        with pytest.raises(RecipeUnsafe) as refused:
            default.require_safe(Recipe(learning_rate=10.1 * rate))
        assert refused.value.pointer == "/recipe/learning_rate"
        assert refused.value.facts == {"learning_rate": 10.1 * rate, "default": rate}
        assert all(f"{one:g}" in refused.value.message for one in (10.1 * rate, rate))
        assert "--force" in refused.value.message
