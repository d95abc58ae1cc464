"""Rules on an open_clip config that decide if `CLIPModel` of transformers can hold the model."""

from collections.abc import Callable, Mapping
from typing import Any

from core.domain.export_format import ExportFormat
from core.domain.registry.architecture import END, VOCABULARY
from core.domain.values import Json
from core.errors import NotExportable

_Section = Mapping[str, Any]

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
    for rule in _RULES:
        if reason := rule(model_cfg, vision, text):
            return reason
    return _preprocessing(config.get("preprocess_cfg", {}))


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


# ---- The rules: (model_cfg, vision_cfg, text_cfg) -> the reason, or None ------------------------


def _towers(model: _Section, vision: _Section, text: _Section) -> str | None:
    del text
    if name := vision.get("timm_model_name"):
        return f"its image tower, {name!r} of timm, is not CLIP's own vision transformer."
    if isinstance(vision.get("layers", 12), (list, tuple)):
        return "its image tower is a ResNet."
    if model.get("custom_text"):
        return "its text tower is a custom one."
    if model.get("init_logit_bias") is not None:
        return "its logits have a bias."
    return None


def _settings(model: _Section, vision: _Section, text: _Section) -> str | None:
    del model
    for name, section, known in (("image", vision, _VISION), ("text", text, _TEXT)):
        for setting, value in section.items():
            if setting not in known and value and value != _NEUTRAL.get(setting):
                return f"its {name} tower has {setting!r}, which CLIPModel lacks."
    return None


def _shape(model: _Section, vision: _Section, text: _Section) -> str | None:
    del model, text
    size = vision.get("image_size", 224)
    if isinstance(size, (list, tuple)) and len(set(size)) > 1:
        return "its images are not square."
    return None


def _sentences(model: _Section, vision: _Section, text: _Section) -> str | None:
    del model, vision
    pooling = text.get("pool_type", "argmax")
    if pooling != "argmax" and not (pooling == "eos" and text.get("eos_id") == END):
        return f"its text tower pools by {pooling!r}, not at the end token."
    if text.get("vocab_size", VOCABULARY) != VOCABULARY:
        return "its vocabulary is not CLIP's own."
    if (text.get("tokenizer_kwargs") or {}).get("clean", "lower") != "lower":
        return "its tokenizer cleans texts in another way than CLIP's."
    return None


def _preprocessing(settings: _Section) -> str | None:
    if (mode := settings.get("resize_mode", "shortest")) not in {"shortest", "squash"}:
        return f"its images are resized by {mode!r}."
    if (name := settings.get("interpolation", "bicubic")) not in {"bicubic", "bilinear"}:
        return f"its images are resized with {name!r} interpolation."
    return None


_RULES: tuple[Callable[[_Section, _Section, _Section], str | None], ...] = (
    _towers,
    _settings,
    _shape,
    _sentences,
)
