"""Rules on an open_clip config that decide, before weights are loaded, what a model is fit for.

A model that cannot be trained cannot be scored or served either: its features are not one vector
per input. Its import is therefore refused. Some that can be trained do not fit into `CLIPModel` of
transformers.
"""

from collections.abc import Collection, Mapping
from typing import Any

from core.errors import BaseUnknown, ModelNotTrainable, NotExportable
from core.recipes.fields import ModelPart, Vocabulary
from core.recipes.rules import Recipe
from core.registry.exports import ExportFormat
from core.registry.image_tops import require_top
from core.registry.text_towers import POOLERS, TEXT_CONFIG, text_tower_name
from core.values import Json

VOCABULARY = 49_408  # CLIP's own tokenizer
END = 49_407  # its end token, the largest id
_KNOWN = {
    "embed_dim",
    "vision_cfg",
    "text_cfg",
    "quick_gelu",
    "custom_text",
    "init_logit_scale",
    "init_logit_bias",
    "nonscalar_logit_scale",
}
_CLEANERS = ("lower", "whitespace", "canonicalize")
TOKENIZER_FILE = "tokenizer.json"  # of a model with a tokenizer of its own
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"  # which tokens pad and end sentences
TOKENIZER = "tokenizer"  # the tensor of a version that holds the file's bytes, a buffer of networks
MOST_TOKENIZER_BYTES = 128 * 1024**2  # XLM-V has 900,000 tokens, most others fewer than 260,000
_PROJECTED = ("linear", "mlp")  # timm's own pooling stays when a projection follows

_Section = Mapping[str, Any]


def untrainable_reason(model_cfg: Json) -> str | None:
    """Return why a model with a `model_cfg` cannot be trained; None if it can."""
    if "multimodal_cfg" in model_cfg:
        return "Models with a caption decoder (CoCa) are not supported."
    vision, text = _section(model_cfg, "vision_cfg"), _section(model_cfg, "text_cfg")
    custom = bool(model_cfg.get("custom_text"))
    if text_tower_name(model_cfg):
        sentences = _foreign_sentence_feature(text)
    else:
        sentences = _tokenizer(text) or _sentence_feature(text, custom)
    if reason := sentences or _image_feature(vision):
        return reason
    if unknown := sorted(set(model_cfg) - _KNOWN):
        return f"The config has an unsupported section: {unknown[0]!r}."
    return None


def require_trainable(model_cfg: Json, *, pointer: str | None = None) -> None:
    """Raise ModelNotTrainable, with the reason, if an architecture cannot be trained."""
    if reason := untrainable_reason(model_cfg):
        raise ModelNotTrainable(reason, pointer=pointer)


def require_recipe_fits(config: Json, recipe: Recipe) -> None:
    """Raise ModelNotTrainable if the model of a config does not support a recipe."""
    if recipe.gradient_checkpointing and is_resnet(_section(config, "model_cfg")):
        raise ModelNotTrainable(
            "CLIP's ResNet towers cannot recompute activations; use micro_batch instead.",
            pointer="/recipe/gradient_checkpointing",
        )
    if recipe.part is ModelPart.TOP:
        require_top(config)
    if recipe.replays_vocabulary:
        _require_sentences(config, recipe)


def context_length(config: Json) -> int:
    """Return the number of tokens of a sentence, start and end token included."""
    text = _section(_section(config, "model_cfg"), "text_cfg")
    return int(text.get("context_length", 77))


def vocabulary_size(config: Json) -> int:
    """Return the number of token ids that the text tower has embeddings of."""
    if foreign := _section(config, TEXT_CONFIG):
        return int(foreign["vocab_size"])
    text = _section(_section(config, "model_cfg"), "text_cfg")
    return int(text.get("vocab_size", VOCABULARY))


def brings_tokenizer(model_cfg: Json) -> bool:
    """Return whether a model has a tokenizer of its own, in the place of CLIP's."""
    return bool(_section(model_cfg, "text_cfg").get("hf_tokenizer_name"))


def require_tokenizer(
    model_cfg: Json, names: Collection[str], *, pointer: str | None = None
) -> None:
    """Raise BaseUnknown if a folder with files of these names lacks the model's tokenizer."""
    if brings_tokenizer(model_cfg) and TOKENIZER_FILE not in names:
        name = _section(model_cfg, "text_cfg")["hf_tokenizer_name"]
        raise BaseUnknown(
            f"The model has a tokenizer of its own, {name!r}: add its {TOKENIZER_FILE} and "
            "tokenizer_config.json to the folder.",
            pointer=pointer,
        )


def _require_sentences(config: Json, recipe: Recipe) -> None:
    if recipe.vocabulary is Vocabulary.FILE:
        return
    if recipe.sentence_length > (room := context_length(config)):
        raise ModelNotTrainable(
            f"sentence_length is {recipe.sentence_length}, but the model's context length is "
            f"{room}.",
            pointer="/recipe/sentence_length",
        )
    known = _section(config, "perennial").get("trained_tokens")
    if recipe.vocabulary is Vocabulary.TRAINED and not known:
        raise ModelNotTrainable(
            "The model does not list the tokens that it was trained on: use vocabulary 'all'.",
            pointer="/recipe/vocabulary",
        )


def _section(model_cfg: _Section, name: str) -> _Section:
    found = model_cfg.get(name)
    return found if isinstance(found, Mapping) else {}


def is_resnet(model_cfg: _Section) -> bool:
    """Return whether the image tower is one of CLIP's ResNets."""
    vision = _section(model_cfg, "vision_cfg")
    return not vision.get("timm_model_name") and isinstance(vision.get("layers"), list | tuple)


# The rules of training: each returns the reason, or None.


def _foreign_sentence_feature(text: _Section) -> str | None:
    """Return what prevents teaching a text tower that transformers builds."""
    if not text.get("hf_tokenizer_name"):
        return "The text tower's tokenizer is not named: hf_tokenizer_name is missing."
    if text.get("output_tokens"):
        return "The text tower returns a feature for every token, not one for a sentence."
    if (pooler := text.get("hf_pooler_type")) not in POOLERS:
        return f"The text tower's pooler {pooler!r} is not supported."
    return _tokenizer_settings(text)


def _tokenizer_settings(text: _Section) -> str | None:
    own = bool(text.get("hf_tokenizer_name"))
    settings = text.get("tokenizer_kwargs") or {}
    known = {"clean", "strip_sep_token"} if own else {"clean"}
    if set(settings) - known or settings.get("clean", "lower") not in _CLEANERS:
        return "The tokenizer has unsupported settings."
    if own and text.get("tokenizer_mode"):
        return f"The tokenizer has an unsupported mode, {text['tokenizer_mode']!r}."
    return None


def _tokenizer(text: _Section) -> str | None:
    if reason := _tokenizer_settings(text):
        return reason
    own = bool(text.get("hf_tokenizer_name"))
    size = text.get("vocab_size", VOCABULARY)
    if not isinstance(size, int) or size < (1 if own else VOCABULARY):
        return (
            f"The vocabulary has {size} tokens; CLIP's tokenizer needs {VOCABULARY}. Another one "
            f"is named by hf_tokenizer_name, and comes as {TOKENIZER_FILE}."
        )
    return None


def _sentence_feature(text: _Section, custom: bool) -> str | None:
    if text.get("output_tokens") and custom:
        return "The text tower returns a feature for every token, not one for a sentence."
    pooling = text.get("pool_type", "argmax")
    if pooling not in {"argmax", "eos", "last", "first"}:
        return f"The text tower's pooling {pooling!r} does not return one feature for a sentence."
    if pooling == "first" and not text.get("no_causal_mask"):
        return "The text tower reads only the start token, so all sentences have the same feature."
    if text.get("embed_cls") and not custom:
        return "A text tower with a class token needs custom_text."
    return _end_token(text, pooling)


def _end_token(text: _Section, pooling: str) -> str | None:
    own = bool(text.get("hf_tokenizer_name"))  # whose end token is compared once it is read
    if pooling == "eos" and not own and text.get("eos_id") != END:  # where it is not said, it is 2
        return f"The text tower's end token is not that of CLIP's tokenizer, {END}."
    if pooling == "argmax" and own:
        return (
            "The text tower pools at the largest token id, which only in CLIP's tokenizer ends a "
            "sentence."
        )
    return None


def _image_feature(vision: _Section) -> str | None:
    if vision.get("output_tokens"):
        return "The image tower returns a feature for every patch, not one for an image."
    if name := vision.get("timm_model_name"):
        pooled = vision.get("timm_pool", "avg") or vision.get("timm_proj", "linear") in _PROJECTED
        return None if pooled else f"The image tower {name!r} has no pooling."
    if vision.get("pool_type") == "none":
        return "The image tower has no pooling."
    return None


# What `CLIPModel` of transformers can hold.

# What `CLIPModel` can be told; any other setting must be left at a value that changes nothing.
_VISION = {"layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size"}
_VISION |= {"patch_dropout"}  # in training alone
_TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
_TEXT |= {"tokenizer_kwargs", "eos_id", "pad_id", "pool_type"}  # rules of their own, below
_NEUTRAL: dict[str, object] = {
    "pool_type": "tok",
    "pos_embed_type": "learnable",
    "proj_type": "linear",
    "attn_pooler_queries": 256,
    "attn_pooler_heads": 8,
    "block_type": "default",
}


def huggingface_obstacle(config: Json) -> str | None:
    """Return why `CLIPModel` cannot hold the model of a config; None if it can."""
    model_cfg: _Section = config["model_cfg"]
    vision, text = model_cfg.get("vision_cfg", {}), model_cfg.get("text_cfg", {})
    return (
        _towers(model_cfg, vision)
        or _settings(vision, text)
        or _shape(vision)
        or _sentences(text)
        or _preprocessing(config.get("preprocess_cfg", {}))
    )


def require_exportable(config: Json, export_format: ExportFormat) -> None:
    """Raise NotExportable, with the reason, if a format has no place for the model of a config."""
    if export_format is not ExportFormat.HUGGINGFACE:
        return  # the other formats take every model that can be taught
    if reason := huggingface_obstacle(config):
        raise NotExportable(
            f"CLIPModel of transformers cannot hold this model: {reason} Export it as open_clip or "
            "onnx.",
            pointer="/format",
        )


def _preprocessing(settings: _Section) -> str | None:
    if (mode := settings.get("resize_mode", "shortest")) not in {"shortest", "squash"}:
        return f"its images are resized by {mode!r}."
    if (name := settings.get("interpolation", "bicubic")) not in {"bicubic", "bilinear"}:
        return f"its images are resized with {name!r} interpolation."
    return None


# The rules of `CLIPModel`: each returns the reason, or None.


def _towers(model: _Section, vision: _Section) -> str | None:
    if name := vision.get("timm_model_name"):
        return f"its image tower, {name!r} of timm, is not CLIP's own vision transformer."
    if isinstance(vision.get("layers", 12), (list, tuple)):
        return "its image tower is a ResNet."
    if model.get("custom_text"):
        return "its text tower is a custom one."
    if model.get("init_logit_bias") is not None:
        return "its logits have a bias."
    return None


def _settings(vision: _Section, text: _Section) -> str | None:
    for name, section, known in (("image", vision, _VISION), ("text", text, _TEXT)):
        for setting, value in section.items():
            if setting not in known and value and value != _NEUTRAL.get(setting):
                return f"its {name} tower has {setting!r}, which CLIPModel lacks."
    return None


def _shape(vision: _Section) -> str | None:
    size = vision.get("image_size", 224)
    if isinstance(size, (list, tuple)) and len(set(size)) > 1:
        return "its images are not square."
    return None


def _sentences(text: _Section) -> str | None:
    pooling = text.get("pool_type", "argmax")
    if pooling != "argmax" and not (pooling == "eos" and text.get("eos_id") == END):
        return f"its text tower pools by {pooling!r}, not at the end token."
    if text.get("vocab_size", VOCABULARY) != VOCABULARY:
        return "its vocabulary is not CLIP's own."
    if (text.get("tokenizer_kwargs") or {}).get("clean", "lower") != "lower":
        return "its tokenizer cleans texts in another way than CLIP's."
    return None
