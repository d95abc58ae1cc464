"""Bases in folders: a config and safetensors, as open_clip saves them."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from core.clip.bases.download import read_through
from core.clip.bases.tower_check import require_features
from core.clip.model import empty_network
from core.domain.recipes.prompt import DEFAULT_PROMPT, PromptTemplate
from core.domain.registry.architecture import VOCABULARY, require_trainable
from core.domain.registry.weights_file import weights_file
from core.domain.values import Json
from core.errors import BaseUnknown
from core.ports import BytesCallback, ignore_bytes

BUNDLED = Path(__file__).parents[3] / "models" / "tiny"


def read_folder(folder: Path, moved: BytesCallback = ignore_bytes) -> tuple[Json, nn.Module]:
    """Return the config and network of an open_clip folder.

    Raises BaseUnknown, PromptInvalid, ModelNotTrainable or WeightsFormat.
    """
    config = {**_read_config(folder), **_read_extras(folder)}
    _require_sound_extras(config.get("perennial", {}))
    require_trainable(config["model_cfg"])
    path = folder / weights_file([path.name for path in folder.iterdir()])
    try:
        read_through(path, moved)
        network = empty_network(config)
        network.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError, TypeError, ValueError, KeyError) as error:
        raise BaseUnknown(
            f"The weights in {folder.name!r} do not match its config: {error}"
        ) from error
    require_features(config, network)
    return config, network


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "open_clip_config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise BaseUnknown(f"{folder.name!r} has no readable open_clip_config.json.") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_cfg"), dict):
        raise BaseUnknown(f"The open_clip_config.json in {folder.name!r} has no model_cfg.")
    return config


def _read_extras(folder: Path) -> dict[str, Any]:
    """Return the trained tokens and the prompt that this project stores beside a model, if any.

    `trained_tokens.json` is a list of token ids; `perennial.json` may hold `prompt`.
    """
    found: dict[str, Any] = {}
    settings, tokens = folder / "perennial.json", folder / "trained_tokens.json"
    try:
        if settings.is_file():
            found |= dict(json.loads(settings.read_bytes()))
        if tokens.is_file():
            found["trained_tokens"] = json.loads(tokens.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise BaseUnknown(
            f"{settings.name} or {tokens.name} in {folder.name!r} is not valid JSON."
        ) from error
    return {"perennial": found} if found else {}


def _require_sound_extras(extras: Any) -> None:
    """Raise BaseUnknown or PromptInvalid unless the extras are a prompt and CLIP token ids."""
    if not isinstance(extras, dict):
        raise BaseUnknown("The config's 'perennial' must be an object.")
    prompt, tokens = extras.get("prompt", DEFAULT_PROMPT.text), extras.get("trained_tokens", [])
    if not isinstance(prompt, str):
        raise BaseUnknown("The model's own prompt must be a string.")
    PromptTemplate(prompt)
    if not isinstance(tokens, list) or not all(
        type(token) is int and 0 <= token < VOCABULARY for token in tokens
    ):
        raise BaseUnknown(f"trained_tokens must be a list of token ids below {VOCABULARY}.")
