"""Import of bases, the pre-trained models that roots are made from."""

import json
from pathlib import Path
from typing import Any

import open_clip
from torch import nn

from core.clip.bases.download import read_while_growing
from core.clip.bases.pretrained_folder import BUNDLED, read_folder
from core.clip.bases.tower_check import require_features
from core.clip.weights import publish
from core.domain.recipes.prompt import DEFAULT_PROMPT
from core.domain.registry.architecture import require_trainable
from core.domain.registry.version import Weights
from core.domain.values import Json
from core.errors import BaseUnknown, StorageFull, is_full_disk
from core.ports import Artifacts, BytesCallback, Monitor

FOLDER_PREFIX = "local-dir:"


class BaseImporter:
    """An importer that stores bases as fp32 weights.

    A base is `bundled`, `NAME:PRETRAINED` as open_clip lists them (`ViT-B-32:openai`), or a
    folder with `open_clip_config.json` and safetensors, with or without `local-dir:`, that
    lies below one of `folders`.
    """

    def __init__(
        self, artifacts: Artifacts, *, folders: tuple[Path, ...] = (), bundled: Path = BUNDLED
    ) -> None:
        self._artifacts = artifacts
        self._folders = folders
        self._bundled = bundled

    def load(self, base: str, monitor: Monitor) -> tuple[Weights, str]:
        """Store a base and return its weights and default prompt.

        Raises BaseUnknown, PromptInvalid, ModelNotTrainable or WeightsFormat, in which case
        nothing is stored.
        """
        monitor.advance("loading", 0, 1)
        config, network = read_while_growing(lambda: self._read(base, monitor.moved), monitor)
        monitor.advance("loading", 1, 1)
        prompt = config.get("perennial", {}).get("prompt", DEFAULT_PROMPT.text)
        weights = publish(
            config,
            network.state_dict(),
            self._artifacts,
            lambda done, total: monitor.advance("publishing", done, total),
            monitor.moved,
        )
        return weights, prompt

    def _read(self, base: str, moved: BytesCallback) -> tuple[Json, nn.Module]:
        if base == "bundled":
            return read_folder(self._bundled, moved)
        name, _, pretrained = base.partition(":")
        if pretrained and not base.startswith(FOLDER_PREFIX) and "/" not in name:
            return read_pretrained(name, pretrained)
        return read_folder(self._allowed(Path(base.removeprefix(FOLDER_PREFIX))), moved)

    def _allowed(self, folder: Path) -> Path:
        resolved = folder.resolve()
        if not any(resolved.is_relative_to(root.resolve()) for root in self._folders):
            raise BaseUnknown
        return resolved


def read_pretrained(name: str, pretrained: str) -> tuple[Json, nn.Module]:
    """Return the config and network of a model that open_clip lists, downloading it if necessary.

    Raises BaseUnknown, ModelNotTrainable, or StorageFull when the disk is too full to download it.
    """
    tag = open_clip.get_pretrained_cfg(name, pretrained)
    model_cfg = open_clip.get_model_config(name)
    if not tag or model_cfg is None:
        raise BaseUnknown(f"open_clip has no model {name!r} with weights {pretrained!r}.")
    if tag.get("quick_gelu"):
        model_cfg["quick_gelu"] = True
    require_trainable(model_cfg)
    try:
        network: nn.Module = open_clip.create_model(
            name, pretrained=pretrained, force_quick_gelu=bool(tag.get("quick_gelu"))
        )
    except (RuntimeError, OSError) as error:
        if is_full_disk(error):
            raise StorageFull from error
        raise BaseUnknown(
            f"The weights {name}:{pretrained} could not be loaded: {error}"
        ) from error
    preprocess_cfg = open_clip.get_model_preprocess_cfg(network)
    config = plain({"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg})
    require_features(config, network)
    return config, network


def plain(value: Any) -> Any:
    """Return a JSON value as it would be read back from text: tuples become lists."""
    return json.loads(json.dumps(value))
