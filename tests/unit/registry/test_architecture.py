"""Which architectures can be taught is known from their config."""

from __future__ import annotations

import json
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from core.clip.bases import require_features
from core.clip.model import empty_network
from core.errors import ModelNotTrainable
from core.recipes.fields import Method, ModelPart, Vocabulary
from core.recipes.rules import Recipe
from core.registry.architecture import (
    context_length,
    require_recipe_fits,
    require_trainable,
    untrainable_reason,
)
from core.registry.text_towers import sound_settings, text_config, text_tower_name
from core.registry.versions import TensorEntry, Weights, require_same_images
from tests.support.factories import digest
from tests.support.learning.lessons import altered
from tests.support.learning.tiny_clip import tiny_config
from tests.support.learning.towers import RESNET, TIMM_DROPOUT

CONFIGS = {
    path.stem: json.loads(path.read_bytes())
    for path in (Path(open_clip.__file__).parent / "model_configs").glob("*.json")
}


def test_all_that_open_clip_lists_is_told_apart() -> None:
    refused = {name for name, config in CONFIGS.items() if untrainable_reason(config)}
    assert refused == {name for name, config in CONFIGS.items() if "multimodal_cfg" in config}
    assert (len(CONFIGS), len(CONFIGS) - len(refused)) == (144, 140)  # as docs/models.md says


def test_the_sizes_of_every_text_tower_that_open_clip_names_are_known() -> None:
    """Transformers builds them from these, and nothing is asked of the hub."""
    named = [config for config in CONFIGS.values() if text_tower_name(config)]
    assert len(named) == 10
    weights = {}
    for config in named:
        if untrainable_reason(config):
            continue
        with torch.device("meta"):
            network = empty_network({"model_cfg": config, **text_config(config)})
        tower = network.get_submodule("text.transformer")
        numbers = sum(one.numel() for one in tower.parameters())
        weights[config["text_cfg"]["hf_model_name"]] = round(numbers / 1e6)
    assert weights == {
        "roberta-base": 124,
        "xlm-roberta-base": 277,
        "xlm-roberta-large": 559,
        "google/mt5-base": 277,
        "google/mt5-xl": 1670,
        "facebook/nllb-200-distilled-600M": 414,
        "facebook/nllb-200-distilled-1.3B": 766,
    }


def changed(section: str, **values: Any) -> dict[str, Any]:
    model_cfg: dict[str, Any] = tiny_config()["model_cfg"]
    model_cfg[section].update(values)
    return model_cfg


TOWER = {"hf_model_name": "roberta-base", "hf_tokenizer_name": "roberta-base"}
SETTINGS = "The tokenizer has unsupported settings."

SMALL = (
    "The vocabulary has {} tokens; CLIP's tokenizer needs 49408. Another one is named by "
    "hf_tokenizer_name, and comes as tokenizer.json."
)

END_TOKEN = "The text tower's end token is not that of CLIP's tokenizer, 49407."


@pytest.mark.parametrize(
    ("model_cfg", "reason"),
    [
        (
            changed("text_cfg", hf_model_name="roberta-base"),
            "The text tower's tokenizer is not named: hf_tokenizer_name is missing.",
        ),
        (
            changed("text_cfg", **TOWER, hf_pooler_type="max_pooler"),
            "The text tower's pooler 'max_pooler' is not supported.",
        ),
        (
            changed("text_cfg", **TOWER, output_tokens=True),
            "The text tower returns a feature for every token, not one for a sentence.",
        ),
        (changed("text_cfg", **TOWER, tokenizer_kwargs={"use_fast": False}), SETTINGS),
        (
            changed("text_cfg", hf_tokenizer_name="some/t5"),  # pools where CLIP's end token is
            "The text tower pools at the largest token id, which only in CLIP's tokenizer ends a "
            "sentence.",
        ),
        (
            changed("text_cfg", hf_tokenizer_name="some/t5", tokenizer_mode="clips"),
            "The tokenizer has an unsupported mode, 'clips'.",
        ),
        (changed("text_cfg", tokenizer_kwargs={"strip_sep_token": True}), SETTINGS),
        (
            changed("text_cfg", vocab_size=49_407),
            SMALL.format(49407),
        ),
        (
            changed("text_cfg", vocab_size=None),
            SMALL.format(None),
        ),
        (changed("text_cfg", tokenizer_kwargs={"bpe_path": "/etc/passwd"}), SETTINGS),
        (changed("text_cfg", tokenizer_kwargs={"clean": "odd"}), SETTINGS),
        (
            changed("text_cfg", pool_type="none"),
            "The text tower's pooling 'none' does not return one feature for a sentence.",
        ),
        (
            changed("text_cfg", pool_type="first"),
            "The text tower reads only the start token, so all sentences have the same feature.",
        ),
        (changed("text_cfg", pool_type="eos", eos_id=49_406), END_TOKEN),
        (changed("text_cfg", pool_type="eos"), END_TOKEN),  # open_clip's own default is another, 2
        (
            changed("text_cfg", embed_cls=True),
            "A text tower with a class token needs custom_text.",
        ),
        (
            changed("text_cfg", output_tokens=True) | {"custom_text": True},
            "The text tower returns a feature for every token, not one for a sentence.",
        ),
        (
            changed("vision_cfg", output_tokens=True),
            "The image tower returns a feature for every patch, not one for an image.",
        ),
        (changed("vision_cfg", pool_type="none"), "The image tower has no pooling."),
        (
            changed("vision_cfg", timm_model_name="x", timm_pool="", timm_proj="none"),
            "The image tower 'x' has no pooling.",
        ),
        (
            tiny_config()["model_cfg"] | {"multimodal_cfg": {}},
            "Models with a caption decoder (CoCa) are not supported.",
        ),
        (
            tiny_config()["model_cfg"] | {"video_cfg": {}, "audio_cfg": {}},
            "The config has an unsupported section: 'audio_cfg'.",
        ),
    ],
)
def test_a_reason_is_given_for_what_cannot_be_taught(
    model_cfg: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ModelNotTrainable) as caught:
        require_trainable(model_cfg, pointer="/base")
    assert (caught.value.message, caught.value.pointer) == (reason, "/base")
    assert caught.value.facts == {}


@pytest.mark.parametrize(
    "model_cfg",
    [
        *(changed("text_cfg", tokenizer_kwargs={"clean": c}) for c in ("lower", "whitespace")),
        changed("text_cfg", tokenizer_kwargs={"clean": "canonicalize"}),
        changed("text_cfg", tokenizer_kwargs={}),
        changed("text_cfg", tokenizer_kwargs=None),
        changed("text_cfg", vocab_size=49_409),
        changed("text_cfg", pool_type="last"),
        changed("text_cfg", output_tokens=True),  # open_clip's plain CLIP does not heed it
        changed("text_cfg", eos_id=2),  # nor this, without pooling by it
        changed("vision_cfg", timm_model_name="x"),
        changed("vision_cfg", timm_model_name="x", timm_pool="", timm_proj="linear"),
        changed("vision_cfg", timm_model_name="x", timm_pool="", timm_proj="mlp"),
        changed("vision_cfg", timm_model_name="x", timm_pool=""),
        changed("vision_cfg", timm_model_name="x", timm_proj="none"),
        changed("vision_cfg", timm_model_name="x", pool_type="none"),
    ],
)
def test_what_does_no_harm_is_no_obstacle(model_cfg: dict[str, Any]) -> None:
    assert untrainable_reason(model_cfg) is None


@pytest.mark.parametrize("odd", [{}, {"vision_cfg": [], "text_cfg": None}, {"text_cfg": "x"}])
def test_a_config_of_any_shape_gets_an_answer(odd: dict[str, Any]) -> None:
    assert untrainable_reason(odd) is None


@pytest.mark.parametrize(
    "config",
    [
        tiny_config(pool_type="eos", eos_id=49_407),
        tiny_config(no_causal_mask=True, pool_type="first"),
        {"model_cfg": changed("text_cfg", embed_cls=True) | {"custom_text": True}},
        {"model_cfg": changed("vision_cfg", pool_type="avg")},
    ],
)
def test_uncommon_but_sound_configs_are_taken(config: dict[str, Any]) -> None:
    require_trainable(config["model_cfg"])
    require_features(config, empty_network(config))


def test_a_tower_that_no_rule_knows_is_asked_itself() -> None:
    narrow = {"model_cfg": changed("text_cfg", proj_type="none")}
    assert untrainable_reason(narrow["model_cfg"]) is None
    with pytest.raises(ModelNotTrainable, match="features have different shapes"):
        require_features(narrow, empty_network(narrow))


@pytest.mark.parametrize("tensor", ["visual.proj", "text_projection"])
def test_weights_that_are_no_numbers_are_refused(tensor: str) -> None:
    network = empty_network(tiny_config())
    with torch.no_grad():
        network.get_parameter(tensor)[0, 0] = torch.nan
    with pytest.raises(ModelNotTrainable, match="NaN"):
        require_features(tiny_config(), network)


def test_a_resnet_says_that_it_recomputes_nothing() -> None:
    recipe = Recipe(gradient_checkpointing=True)
    with pytest.raises(ModelNotTrainable) as caught:
        require_recipe_fits({"model_cfg": RESNET}, recipe)
    assert caught.value.message == (
        "CLIP's ResNet towers cannot recompute activations; use micro_batch instead."
    )
    assert caught.value.pointer == "/recipe/gradient_checkpointing"
    require_recipe_fits({"model_cfg": RESNET}, Recipe())
    require_recipe_fits(tiny_config(), recipe)
    for tower in (TIMM_DROPOUT["vision_cfg"], TIMM_DROPOUT["vision_cfg"] | {"layers": [1, 1]}):
        require_recipe_fits({"model_cfg": TIMM_DROPOUT | {"vision_cfg": tower}}, recipe)


def test_part_top_is_for_the_convnexts_of_timm() -> None:
    recipe = Recipe(part=ModelPart.TOP)
    towers = {name: {"model_cfg": config} for name, config in CONFIGS.items()}
    fit = set()
    for name, config in towers.items():
        with suppress(ModelNotTrainable):
            require_recipe_fits(config, recipe)
            fit.add(name)
    assert fit == {name for name in CONFIGS if "convnext" in name}
    with pytest.raises(ModelNotTrainable) as caught:
        require_recipe_fits(tiny_config(), recipe)
    assert caught.value.pointer == "/recipe/part"


def test_a_teacher_may_see_images_in_another_way_above_what_is_described() -> None:
    def weights(below: str, above: str) -> Weights:
        return Weights(
            config={},
            tensors=tuple(
                TensorEntry(name=name, dtype="F32", shape=(1,), digest=digest(value), size=4)
                for name, value in (
                    ("visual.trunk.stages.2.x", below),
                    ("visual.trunk.stages.3.x", above),
                    ("visual.head.proj.weight", above),
                    ("token_embedding.weight", above),
                )
            ),
        )

    for part, one, other, refused in (
        (ModelPart.TOP, weights("a", "b"), weights("a", "c"), False),
        (ModelPart.TOP, weights("a", "b"), weights("d", "b"), True),
        (ModelPart.TEXT, weights("a", "b"), weights("a", "c"), True),
        (ModelPart.TEXT, weights("a", "b"), weights("a", "b"), False),
    ):
        with pytest.raises(ModelNotTrainable) if refused else nullcontext():
            require_same_images(one, other, part)


@pytest.mark.parametrize("method", [Method.VRLWF, Method.VRLWF_CROSS])
def test_sentences_that_the_model_cannot_read_whole_are_refused(method: Method) -> None:
    config, recipe = tiny_config(context_length=16), Recipe(method=method, sentence_length=17)
    with pytest.raises(ModelNotTrainable) as caught:
        require_recipe_fits(config, recipe)
    assert caught.value.message == ("sentence_length is 17, but the model's context length is 16.")
    assert caught.value.pointer == "/recipe/sentence_length"
    require_recipe_fits(config, replace(recipe, sentence_length=16))
    require_recipe_fits(config, altered(recipe, method=Method.LWF))  # replays none
    given = replace(recipe, vocabulary=Vocabulary.FILE, vocabulary_texts=("a cat", "a dog"))
    require_recipe_fits(config, given)  # given texts have lengths of their own


@pytest.mark.parametrize("config", [{"model_cfg": {"text_cfg": {}}}, {"model_cfg": {}}, {}])
def test_a_context_that_is_not_said_is_clips_own(config: dict[str, Any]) -> None:
    assert context_length(config) == 77
    assert context_length(tiny_config(context_length=16)) == 16


def test_trained_tokens_are_replayed_only_where_they_are_known() -> None:
    recipe = Recipe(vocabulary=Vocabulary.TRAINED)
    with pytest.raises(ModelNotTrainable) as caught:
        require_recipe_fits(tiny_config(), recipe)
    assert caught.value.message == (
        "The model does not list the tokens that it was trained on: use vocabulary 'all'."
    )
    assert caught.value.pointer == "/recipe/vocabulary"
    require_recipe_fits(tiny_config(), Recipe(vocabulary=Vocabulary.WORD_FINAL))
    require_recipe_fits(tiny_config() | {"perennial": {"trained_tokens": [5, 6]}}, recipe)
    require_recipe_fits(tiny_config(), altered(recipe, method=Method.FT))


# Text towers of transformers.


def test_a_config_beside_the_weights_says_a_towers_sizes_and_nothing_else() -> None:
    """Neither code of the hub nor a choice of kernels is taken over from it."""
    model_cfg = changed("text_cfg", **TOWER)
    described = {
        "model_type": "roberta",
        "hidden_size": 16,
        "auto_map": {"AutoModel": "evil--code"},
        "attn_implementation": "someone/kernel",
        "transformers_version": "4.30",
    }
    found = text_config(model_cfg, described)["text_config"]
    assert (found["hidden_size"], found["max_position_embeddings"]) == (16, 512)
    assert not {"auto_map", "attn_implementation", "transformers_version"} & found.keys()
    published = text_config(model_cfg)
    for other in ("clip", ["roberta"]):  # a CLIPModel's lies beside many models of open_clip
        assert text_config(model_cfg, {"model_type": other}) == published
    assert published["text_config"]["max_position_embeddings"] == 514


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
        ("hidden_act", "someone/act"),
        ("position_embedding_type", ["absolute"]),
        ("hidden_size", "8"),
        ("num_hidden_layers", 1.5),
        ("layer_norm_eps", True),
    ],
)
def test_a_setting_that_would_change_the_computation_is_refused_by_name(
    setting: str, value: object
) -> None:
    with pytest.raises(ModelNotTrainable, match=f"{setting} .* is not supported"):
        sound_settings({"model_type": "roberta", setting: value})


def test_a_tower_of_unknown_sizes_asks_for_its_config() -> None:
    unknown = changed("text_cfg", hf_model_name="some/tower", hf_tokenizer_name="some/tower")
    require_trainable(unknown)  # its sizes may lie in the folder
    with pytest.raises(ModelNotTrainable, match=r"add its config\.json, with a model_type of rob"):
        text_config(unknown)
