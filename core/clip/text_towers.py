"""Text towers that open_clip has transformers build, from the settings that a version holds."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import reload
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import open_clip

from core.errors import ModelNotTrainable
from core.registry.text_towers import (
    TEXT_CONFIG,
    TEXT_CONFIG_FILE,
    sound_settings,
    text_tower_name,
)
from core.values import Json

_loading = Lock()


@contextmanager
def built_text_cfg(config: Json) -> Iterator[dict[str, Any]]:
    """Yield the `text_cfg` by which open_clip builds a config's text tower, without the hub.

    For a tower of transformers, it names a folder that has the settings, and goes with the block.
    Raises ModelNotTrainable if there are none, or if transformers is not installed.
    """
    text_cfg = dict(config["model_cfg"]["text_cfg"])
    if (name := text_tower_name(config["model_cfg"])) is None:
        yield text_cfg
        return
    if TEXT_CONFIG not in config:
        raise ModelNotTrainable(f"The sizes of the text tower {name!r} are missing.")
    settings = sound_settings(config[TEXT_CONFIG])
    have_text_towers()
    with TemporaryDirectory(prefix="text-tower-") as folder:
        (Path(folder) / TEXT_CONFIG_FILE).write_text(json.dumps(settings))
        yield {**text_cfg, "hf_model_name": folder, "hf_model_pretrained": False}


def have_text_towers() -> None:
    """Let open_clip build text towers of transformers, which it was imported without.

    Raises ModelNotTrainable if transformers is not installed.
    """
    towers: Any = open_clip.hf_model
    with _loading:
        if towers.transformers is None:
            towers = reload(towers)
            model: Any = open_clip.model
            model.HFTextEncoder = towers.HFTextEncoder
    if towers.transformers is None:
        raise ModelNotTrainable(
            "The text tower is one of transformers, which is not installed here: install it by the "
            "extra 'export'."
        )
