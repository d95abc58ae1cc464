"""The config of open_clip that is a model of transformers: a `CLIPModel` or a `SiglipModel`.

What open_clip's towers cannot compute exactly is refused. The defaults are those of
`CLIPConfig` and `SiglipConfig`, whose published files name only what differs.
"""

import math
from collections.abc import Mapping
from typing import Any

from core.errors import ModelNotTrainable
from core.registry.architecture import END, TOKENIZER_FILE
from core.values import Json

PROCESSOR_FILE = "preprocessor_config.json"
TANH = "gelu_pytorch_tanh"

_CLIP_VISION: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
_CLIP_TEXT: dict[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "eos_token_id": END,
}
_SIGLIP_VISION = _CLIP_VISION | {
    "patch_size": 16,
    "hidden_act": TANH,
    "layer_norm_eps": 1e-6,
    "vision_use_head": True,
}
_SIGLIP_TEXT: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 64,
    "hidden_act": TANH,
    "layer_norm_eps": 1e-6,
    "projection_size": None,
}
_OLD_END = 2  # of configs before 2023: the text is pooled at its largest token

# SigLIP's image towers in timm: width, layers, heads, width of the perceptron; patch and image.
_SIZES = {
    "base": (768, 12, 12, 3072),
    "large": (1024, 24, 16, 4096),
    "so400m": (1152, 27, 16, 4304),
    "giantopt": (1536, 40, 16, 6144),
}
_SIDES = {
    ("base", 32): (256,),
    ("base", 16): (224, 256, 384, 512),
    ("large", 16): (256, 384, 512),
    ("so400m", 14): (224, 378, 384),
    ("so400m", 16): (256, 384, 512),
    ("giantopt", 16): (256, 384),
}
SIGLIP_TOWERS = {
    (*_SIZES[size], patch, side): f"vit_{size}_patch{patch}_siglip_{side}"
    for (size, patch), sides in _SIDES.items()
    for side in sides
}


def open_clip_config(config: Json, processor: Json) -> dict[str, Any]:
    """Return the `open_clip_config.json` of a `config.json` and a `preprocessor_config.json`.

    Raises ModelNotTrainable for a model that open_clip's towers do not compute exactly.
    """
    kind = config.get("model_type")
    if kind == "siglip2":
        raise ModelNotTrainable(
            "This SigLIP 2 (NaFlex, model_type 'siglip2') reads images in their own shapes, which "
            "no image tower of open_clip does. SigLIP 2 of one image size, whose config.json says "
            "model_type 'siglip', can be taught."
        )
    if kind not in {"clip", "siglip"}:
        raise ModelNotTrainable(
            f"Of the models of transformers, 'clip' and 'siglip' can be taught, and config.json "
            f"says model_type {kind!r}."
        )
    model_cfg = _clip(config) if kind == "clip" else _siglip(config)
    side = model_cfg["vision_cfg"]["image_size"]
    return {"model_cfg": model_cfg, "preprocess_cfg": _preprocess_cfg(processor, side)}


def _clip(config: Json) -> dict[str, Any]:
    vision = _section(config, "vision_config", _CLIP_VISION)
    text = _section(config, "text_config", _CLIP_TEXT)
    activations = {vision["hidden_act"], text["hidden_act"]}
    if len(activations) > 1 or not activations <= {"quick_gelu", "gelu"}:
        raise _no_counterpart("activations", " and ".join(sorted(activations)))
    for section in (vision, text):
        _require(section, "layer_norm_eps", 1e-5)
    if text["eos_token_id"] not in {_OLD_END, END}:
        raise _no_counterpart("eos_token_id", text["eos_token_id"])
    _require(text, "vocab_size", _CLIP_TEXT["vocab_size"])
    width, heads = vision["hidden_size"], vision["num_attention_heads"]
    return {
        "embed_dim": _whole(config.get("projection_dim", 512), "projection_dim"),
        "quick_gelu": activations == {"quick_gelu"},
        "vision_cfg": {
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "layers": vision["num_hidden_layers"],
            "width": width,
            "head_width": width // heads,
            "mlp_ratio": _ratio(vision),
        },
        "text_cfg": _text_cfg(text),
    }


def _siglip(config: Json) -> dict[str, Any]:
    vision = _section(config, "vision_config", _SIGLIP_VISION)
    text = _section(config, "text_config", _SIGLIP_TEXT)
    _require(vision, "hidden_act", TANH)
    _require(vision, "layer_norm_eps", 1e-6)
    _require(vision, "vision_use_head", True)
    if text["hidden_act"] not in {TANH, "gelu"}:
        raise _no_counterpart("activation of texts", text["hidden_act"])
    width = vision["hidden_size"]
    shape = (
        width,
        vision["num_hidden_layers"],
        vision["num_attention_heads"],
        vision["intermediate_size"],
        vision["patch_size"],
        vision["image_size"],
    )
    if shape not in SIGLIP_TOWERS:
        raise ModelNotTrainable(
            "timm has no SigLIP image tower of this width, layers, heads, perceptron's width, "
            f"patch and image size: {', '.join(map(str, shape))}."
        )
    if (text["projection_size"] or text["hidden_size"]) != width:
        raise _no_counterpart("projection_size", text["projection_size"] or text["hidden_size"])
    tanh = {"approximate": "tanh"}
    return {
        "embed_dim": width,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": vision["image_size"],
            "timm_model_name": SIGLIP_TOWERS[shape],
            "timm_pool": "map",
            "timm_proj": "none",
            "act_kwargs": tanh,
        },
        "text_cfg": {
            **_text_cfg(text),
            "hf_tokenizer_name": TOKENIZER_FILE,  # in the folder
            "tokenizer_kwargs": {"clean": "canonicalize"},
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": text["layer_norm_eps"]},
            **({"act_kwargs": tanh} if text["hidden_act"] == TANH else {}),
        },
    }


def _text_cfg(text: Json) -> dict[str, Any]:
    return {
        "context_length": text["max_position_embeddings"],
        "vocab_size": text["vocab_size"],
        "width": text["hidden_size"],
        "heads": text["num_attention_heads"],
        "layers": text["num_hidden_layers"],
        "mlp_ratio": _ratio(text),
    }


def _section(config: Json, name: str, defaults: Json) -> dict[str, Any]:
    """Return a section with its defaults, as transformers read it."""
    found = config.get(f"{name}_dict") or config.get(name) or {}  # the former is of old configs
    if not isinstance(found, Mapping):
        raise _no_counterpart(name, found)
    section = {**defaults, **{key: found[key] for key in defaults if key in found}}
    for key, default in defaults.items():
        if type(default) is int:
            _whole(section[key], f"{key} of {name}")
        elif isinstance(default, str) and not isinstance(section[key], str):
            raise _no_counterpart(f"{key} of {name}", section[key])
    if "num_channels" in section:
        _require(section, "num_channels", 3)
    if section["hidden_size"] % section["num_attention_heads"]:
        raise _no_counterpart(f"num_attention_heads of {name}", section["num_attention_heads"])
    return section


def _whole(value: object, name: str) -> int:
    if type(value) is not int or value < 1:
        raise _no_counterpart(name, value)
    return value


def _require(section: Json, name: str, value: object) -> None:
    if section[name] != value:
        raise _no_counterpart(name, section[name])


def _ratio(section: Json) -> float:
    """Return a ratio of which open_clip, which rounds down, makes the perceptron's width."""
    width, inner = section["hidden_size"], section["intermediate_size"]
    ratio: float = inner / width
    return ratio if int(width * ratio) == inner else math.nextafter(ratio, math.inf)


def _no_counterpart(name: str, value: object) -> ModelNotTrainable:
    return ModelNotTrainable(f"open_clip has no counterpart for {name} {value!r:.80}.")


# Preprocessing of images.

_FILTERS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_STEPS = ("do_resize", "do_rescale", "do_normalize")


def _preprocess_cfg(processor: Json, side: int) -> dict[str, Any]:
    """Return how images are brought to a side and normalised."""
    for step in _STEPS:
        if processor.get(step, True) is not True:
            raise _no_counterpart(step, processor[step])
    if processor.get("resample", 3) not in _FILTERS:
        raise _no_counterpart("resample", processor["resample"])
    if processor.get("rescale_factor", 1 / 255) not in {1 / 255, 0.00392156862745098}:
        raise _no_counterpart("rescale_factor", processor["rescale_factor"])
    return {
        "mean": _colours(processor, "image_mean"),
        "std": _colours(processor, "image_std"),
        "interpolation": _FILTERS[processor.get("resample", 3)],
        "resize_mode": _resize_mode(processor, side),
    }


def _colours(processor: Json, name: str) -> list[float]:
    found = processor.get(name)
    if (
        not isinstance(found, list)
        or len(found) != 3
        or not all(type(one) in {int, float} and math.isfinite(one) for one in found)
        or (name == "image_std" and min(found) <= 0)
    ):
        raise _no_counterpart(name, found)
    return [float(one) for one in found]


def _resize_mode(processor: Json, side: int) -> str:
    whole = {"height": side, "width": side}
    size, crop = processor.get("size"), processor.get("crop_size", side)
    cropped = processor.get("do_center_crop", size != whole)
    if cropped and crop not in (side, whole):
        raise _no_counterpart("crop_size", crop)
    if size == whole:
        return "squash"
    if cropped and size in (side, {"shortest_edge": side}):
        return "shortest"
    raise _no_counterpart("size", size)
