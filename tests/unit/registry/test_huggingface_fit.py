"""Configs of models that `CLIPModel` of transformers can hold, and of others."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from core.errors import NotExportable
from core.registry.architecture import huggingface_obstacle, require_exportable
from core.registry.exports import ExportFormat
from tests.support.learning.tiny_clip import tiny_config
from tests.support.places import ROOT

(FOLDER,) = find_spec("open_clip").submodule_search_locations  # type: ignore[union-attr, misc]


def listed(name: str) -> dict[str, Any]:
    """The config of a model that open_clip lists."""
    path = Path(FOLDER) / "model_configs" / f"{name}.json"
    return {"model_cfg": json.loads(path.read_bytes())}


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-32-quickgelu", "ViT-L-14-336", "ViT-bigG-14"])
def test_models_of_clips_own_towers_fit(name: str) -> None:
    assert huggingface_obstacle(listed(name)) is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("RN50", "ResNet"),
        ("convnext_base", "'convnext_base' of timm"),
        ("ViT-B-16-SigLIP", "of timm"),
        ("ViT-H-14-CLIPA", "'no_ln_pre'"),
        ("roberta-ViT-B-32", "'hf_model_name'"),
        ("coca_base", "custom"),
    ],
)
def test_other_models_that_open_clip_lists_do_not(name: str, reason: str) -> None:
    assert reason in str(huggingface_obstacle(listed(name)))


def test_the_bundled_model_does_not() -> None:
    config = json.loads((ROOT / "models" / "tiny" / "open_clip_config.json").read_bytes())
    with pytest.raises(NotExportable, match=r"convnext_zepto_rms_ols.* Export it as open_clip"):
        require_exportable(config, ExportFormat.HUGGINGFACE)
    for other in set(ExportFormat) - {ExportFormat.HUGGINGFACE}:
        require_exportable(config, other)


@pytest.mark.parametrize(
    ("place", "change", "reason"),
    [
        ("vision_cfg", {"ls_init_value": 1e-5}, "'ls_init_value'"),
        ("vision_cfg", {"pool_type": "avg"}, "'pool_type'"),
        ("vision_cfg", {"image_size": [16, 24]}, "square"),
        ("text_cfg", {"pool_type": "last"}, "pools by 'last'"),
        ("text_cfg", {"pool_type": "eos", "eos_id": 2}, "pools by 'eos'"),
        ("text_cfg", {"no_causal_mask": True}, "'no_causal_mask'"),
        ("text_cfg", {"vocab_size": 50_000}, "vocabulary"),
        ("text_cfg", {"tokenizer_kwargs": {"clean": "whitespace"}}, "cleans"),
        ("preprocess_cfg", {"resize_mode": "longest"}, "resized by 'longest'"),
        ("preprocess_cfg", {"interpolation": "random"}, "'random' interpolation"),
    ],
)
def test_a_setting_that_transformers_lack_is_named(
    place: str, change: dict[str, Any], reason: str
) -> None:
    config = tiny_config()
    assert huggingface_obstacle(config) is None
    section = config if place == "preprocess_cfg" else config["model_cfg"]
    section[place] |= change
    assert reason in str(huggingface_obstacle(config))


@pytest.mark.parametrize(
    ("place", "change"),
    [
        ("vision_cfg", {"ls_init_value": None, "patch_dropout": 0.5, "pool_type": "tok"}),
        ("vision_cfg", {"image_size": [16, 16]}),
        ("text_cfg", {"pool_type": "eos", "eos_id": 49_407}),
    ],
)
def test_a_setting_that_changes_nothing_is_no_obstacle(place: str, change: dict[str, Any]) -> None:
    config = tiny_config()
    config["model_cfg"][place] |= change
    assert huggingface_obstacle(config) is None
