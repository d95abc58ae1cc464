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
from core.recipes.fields import ModelPart
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

TOP = {"part": "top", "augment": False, "epochs": 15, "replay_weight": 24.0}

SIZES = {"small": 9e6, "base": 150e6, "large": 430e6, "huge": 1e9}


def of_the_bundled_model() -> DefaultRecipe:
    config = json.loads((BUNDLED / "open_clip_config.json").read_bytes())["model_cfg"]
    with safe_open(next(BUNDLED.glob("*.safetensors")), "numpy") as weights:
        names = weights.keys()
        parameters = sum(prod(weights.get_slice(name).get_shape()) for name in names)
    assert 8e6 < parameters < 10e6
    return default_recipe(config, parameters)


def test_the_bundled_models_default_is_the_preset_top() -> None:
    default = of_the_bundled_model()
    assert (default.name, default.fields) == ("small_convnext", TOP)
    recipe = default.complete({})
    assert recipe == Recipe.from_json({"preset": "top"})
    tuned = (recipe.learning_rate, recipe.replay_weight, recipe.epochs, recipe.batch_size)
    assert tuned == (3e-4, 24.0, 15, 100)
    assert (recipe.optimiser, recipe.schedule, recipe.warm_start) == ("adam", "cosine", 0.5)
    assert (recipe.part, recipe.augment, recipe.exemplars) == (ModelPart.TOP, False, 2000)
    assert "bundled" in default.source


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"method": "ft"}, {"method": "ft"}),
        ({"method": "vrlwf_features", "seed": 3}, {"method": "vrlwf_features", "seed": 3}),
        ({"part": "whole"}, {}),
        ({"part": "text", "epochs": 9}, {"part": "text", "epochs": 9}),
        ({"method": "vrlwf_replay", "part": "top"}, TOP),
        ({"method": "vrlwf", "part": "top"}, {"method": "vrlwf", "part": "top"}),
        ({"epochs": 4, "seed": 1}, {**TOP, "epochs": 4, "seed": 1}),
        ({"exemplars": "none"}, {"exemplars": "none"}),
        ({"exemplars": 0, "part": "top"}, {"exemplars": 0, "part": "top"}),
        ({"exemplars": 500}, {**TOP, "exemplars": 500}),
        ({"preset": "whole"}, {}),
    ],
)
def test_what_a_default_has_chosen_for_its_part_gives_way_to_another_method_or_part(
    given: dict[str, Any], expected: dict[str, Any]
) -> None:
    """So `{"method": "ft"}` fine-tunes both towers with the general defaults."""
    assert of_the_bundled_model().complete(given) == Recipe.from_json(expected)


def test_a_default_without_stored_images_stays_in_an_order_that_says_so_again() -> None:
    own = {"part": "text", "exemplars": "none", "epochs": 4}
    default = DefaultRecipe(name="own", source="", fields=own)
    assert default.merged({"exemplars": 0, "seed": 1}) == {**own, "exemplars": 0, "seed": 1}
    assert default.merged({"exemplars": 100}) == {"exemplars": 100}


def test_without_images_the_default_trains_the_text_tower_and_replays_features() -> None:
    recipe = of_the_bundled_model().complete({"exemplars": "none"})
    assert (recipe.part, recipe.feature_replay, recipe.epochs) == (ModelPart.TEXT, 2000, 6)


@pytest.mark.parametrize("size", SIZES)
def test_every_architecture_that_can_be_taught_supports_its_default(size: str) -> None:
    assert len(TAUGHT) == 140
    for name, config in TAUGHT.items():
        default = default_recipe(config, round(SIZES[size]))
        named, expected = size, {"small": {}, "base": BASE}.get(size, LARGE)
        if size == "small" and "convnext" in config["vision_cfg"].get("timm_model_name", ""):
            named, expected = "small_convnext", TOP
        if is_resnet(config):
            expected = {k: v for k, v in expected.items() if k != "gradient_checkpointing"}
        assert (default.name, default.fields) == (named, expected), name
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
