"""The text towers of open_clip's models that transformers builds, and what says their sizes.

The config of such a model names the tower by its place in the hub (`hf_model_name`); its sizes are
in the `config.json` there. So a version holds them too, as `text_config`, and is opened without the
hub. Only what the sizes and the computation depend on is taken over: no code, and no switches of
transformers.
"""

from collections.abc import Mapping
from typing import Any

from core.errors import ModelNotTrainable
from core.values import Json

TEXT_CONFIG = "text_config"  # of a version's config, beside `model_cfg`
TEXT_CONFIG_FILE = "config.json"  # of a folder, as transformers writes it

# Each family's settings with the defaults of its config class, as files name only what differs.
_ROBERTA: Json = {
    "vocab_size": 50_265,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
_FAMILIES: Mapping[str, Json] = {
    "roberta": _ROBERTA,
    "xlm-roberta": {**_ROBERTA, "vocab_size": 30_522},
    "mt5": {
        "vocab_size": 250_112,
        "d_model": 512,
        "d_kv": 64,
        "d_ff": 1024,
        "num_layers": 8,
        "num_heads": 6,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "gated-gelu",
        "pad_token_id": 0,
        "eos_token_id": 1,
    },
    "m2m_100": {
        "vocab_size": 128_112,
        "d_model": 1024,
        "encoder_layers": 12,
        "encoder_ffn_dim": 4096,
        "encoder_attention_heads": 16,
        "max_position_embeddings": 1024,
        "activation_function": "relu",
        "scale_embedding": True,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
    },
}
# Encoders that were trained with a decoder, which open_clip builds and throws away.
_NO_DECODER: Mapping[str, Json] = {
    "mt5": {"num_decoder_layers": 0},
    "m2m_100": {"decoder_layers": 0},
}
# What another value than these would change.
_FIXED: Json = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "hidden_act": ("gelu", "gelu_new", "relu", "silu"),
    "activation_function": ("gelu", "gelu_new", "relu", "silu"),
    "feed_forward_proj": ("gated-gelu", "gated-silu", "relu"),
}

# What the published files of open_clip's towers say beyond that.
_XLM = {"model_type": "xlm-roberta", "vocab_size": 250_002}
_LIKE_ROBERTA = {"max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
_LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
_NLLB = {"model_type": "m2m_100", "vocab_size": 256_206}
_PUBLISHED: Mapping[str, Json] = {
    "roberta-base": {"model_type": "roberta", **_LIKE_ROBERTA},
    "xlm-roberta-base": {**_XLM, **_LIKE_ROBERTA},
    "xlm-roberta-large": {**_XLM, **_LIKE_ROBERTA, **_LARGE},
    "google/mt5-base": {
        "model_type": "mt5",
        "d_model": 768,
        "d_ff": 2048,
        "num_layers": 12,
        "num_heads": 12,
    },
    "google/mt5-xl": {
        "model_type": "mt5",
        "d_model": 2048,
        "d_ff": 5120,
        "num_layers": 24,
        "num_heads": 32,
    },
    "facebook/nllb-200-distilled-600M": _NLLB,
    "facebook/nllb-200-distilled-1.3B": {
        **_NLLB,
        "encoder_layers": 24,
        "encoder_ffn_dim": 8192,
    },
}

# How open_clip makes one vector of a sentence: its `max_pooler` does not run.
POOLERS = (None, "mean_pooler", "cls_pooler", "cls_last_hidden_state_pooler")
_FIRST_TOKEN = ("cls_pooler", "cls_last_hidden_state_pooler")


def text_tower_name(model_cfg: Json) -> str | None:
    """Return the name of a text tower that transformers builds; None for open_clip's own."""
    name = _text_cfg(model_cfg).get("hf_model_name")
    return str(name) if name else None


def is_text_tower(described: Json) -> bool:
    """Return whether a `config.json` is that of a text tower which open_clip can have."""
    return str(described.get("model_type")) in _FAMILIES


def text_config(model_cfg: Json, described: Json | None = None) -> dict[str, Any]:
    """Return a model's `text_config` in a dict, which is empty if its text tower is open_clip's.

    `described` is the `config.json` in the folder of its weights. It prevails over what is known
    of the towers that open_clip names. Raises ModelNotTrainable.
    """
    name = text_tower_name(model_cfg)
    if name is None:
        return {}
    found = described if described and is_text_tower(described) else _PUBLISHED.get(name)
    if found is None:
        families = ", ".join(_FAMILIES)
        raise ModelNotTrainable(
            f"The sizes of the text tower {name!r} are not known: add its {TEXT_CONFIG_FILE}, with "
            f"a model_type of {families}, to the folder."
        )
    return {TEXT_CONFIG: sound_settings(found)}


def sound_settings(described: Json) -> dict[str, Any]:
    """Return the settings of a `config.json` that say how a tower computes.

    Raises ModelNotTrainable for a setting that is not supported.
    """
    family = str(described.get("model_type"))
    if family not in _FAMILIES:
        raise ModelNotTrainable(f"A text tower of the model_type {family!r} is not supported.")
    defaults = _FAMILIES[family]
    found = {name: described.get(name, default) for name, default in defaults.items()}
    for name, value in found.items():
        kinds = (int, float) if isinstance(defaults[name], float) else type(defaults[name])
        numeric = isinstance(value, bool) == isinstance(defaults[name], bool)
        if not (isinstance(value, kinds) and numeric and value in _CHOICES.get(name, (value,))):
            raise _unsupported(name, value)
    for name, value in _FIXED.items():
        if described.get(name, value) not in (value, None):
            raise _unsupported(name, described[name])
    return {"model_type": family, **found, **_NO_DECODER.get(family, {})}


def _unsupported(name: str, value: object) -> ModelNotTrainable:
    return ModelNotTrainable(f"The text tower's {name} {str(value)[:40]!r} is not supported.")


def pools_first_token(model_cfg: Json) -> bool:
    """Return whether a sentence's feature is that of its first token, which must be no word."""
    return _text_cfg(model_cfg).get("hf_pooler_type") in _FIRST_TOKEN


def _text_cfg(model_cfg: Json) -> Json:
    found = model_cfg.get("text_cfg")
    return found if isinstance(found, Mapping) else {}
