"""Import base weights: the pre-trained models that the roots of models are made from."""

import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

import open_clip
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.constants import HF_HUB_CACHE
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from core.artifacts.checks import file_pieces
from core.artifacts.store import Artifacts, BytesCallback, ignore_bytes
from core.clip.model import ClipModel, empty_network, publish
from core.engines.own_tokenizer import read_own_tokenizer
from core.errors import BaseUnknown, ModelNotTrainable, StorageFull, is_full_disk
from core.jobs.rules import Monitor
from core.recipes.fields import DEFAULT_PROMPT, PromptTemplate
from core.registry.architecture import (
    TOKENIZER,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    brings_tokenizer,
    require_tokenizer,
    require_trainable,
    vocabulary_size,
)
from core.registry.versions import Weights, weights_file
from core.values import Json

FOLDER_PREFIX = "local-dir:"

BUNDLED = Path(__file__).parents[2] / "models" / "tiny"


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
    own = brings_tokenizer(model_cfg) and _hub_tokenizer(model_cfg["text_cfg"]["hf_tokenizer_name"])
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
    plain = json.dumps({"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg})
    config: dict[str, Any] = json.loads(plain)  # as it would be read back: tuples become lists
    if own:
        _add_tokenizer(config, network, own)
    require_features(config, network)
    return config, network


def _hub_tokenizer(name: str) -> Path:
    """Return a folder of the files of a tokenizer, downloading them if necessary."""
    try:
        files = (TOKENIZER_FILE, TOKENIZER_CONFIG_FILE)
        paths = [Path(hf_hub_download(name, file)) for file in files]
    except Exception as error:
        if is_full_disk(error):
            raise StorageFull from error
        raise BaseUnknown(f"The tokenizer {name} could not be loaded: {error}") from error
    return paths[0].parent


def _add_tokenizer(
    config: dict[str, Any],
    network: nn.Module,
    folder: Path,
    moved: BytesCallback = ignore_bytes,
) -> None:
    """Give a network the tokenizer of a folder. Raises BaseUnknown if it does not fit."""
    data, config["tokenizer_config"] = read_own_tokenizer(folder, config, moved)
    held = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    network.register_buffer(TOKENIZER, held)


# Bases in folders: a config and safetensors, as open_clip saves them.


def read_folder(folder: Path, moved: BytesCallback = ignore_bytes) -> tuple[Json, nn.Module]:
    """Return the config and network of an open_clip folder.

    Raises BaseUnknown, PromptInvalid, ModelNotTrainable or WeightsFormat.
    """
    config = {**_read_config(folder), **_read_extras(folder)}
    require_trainable(config["model_cfg"])
    _require_sound_extras(config.get("perennial", {}), vocabulary_size(config))
    names = [path.name for path in folder.iterdir()]
    require_tokenizer(config["model_cfg"], names)
    path = folder / weights_file(names)
    try:
        for piece in file_pieces(path):  # into memory, since loading it reports no progress
            moved(len(piece))
        network = empty_network(config)
        network.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError, TypeError, ValueError, KeyError) as error:
        raise BaseUnknown(
            f"The weights in {folder.name!r} do not match its config: {error}"
        ) from error
    if brings_tokenizer(config["model_cfg"]):
        _add_tokenizer(config, network, folder, moved)
    require_features(config, network)
    return config, network


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "open_clip_config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise BaseUnknown(f"{folder.name!r} has no readable open_clip_config.json.") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_cfg"), dict):
        raise BaseUnknown(f"The open_clip_config.json in {folder.name!r} has no model_cfg.")
    config.pop("precision", None)  # of a version's download: nobody has scored a root in it
    config.pop("tokenizer_config", None)  # of a version's download, too: read from its file
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


def _require_sound_extras(extras: Any, vocabulary: int) -> None:
    """Raise BaseUnknown or PromptInvalid unless the extras are a prompt and token ids."""
    if not isinstance(extras, dict):
        raise BaseUnknown("The config's 'perennial' must be an object.")
    prompt, tokens = extras.get("prompt", DEFAULT_PROMPT.text), extras.get("trained_tokens", [])
    if not isinstance(prompt, str):
        raise BaseUnknown("The model's own prompt must be a string.")
    PromptTemplate(prompt)
    if not isinstance(tokens, list) or not all(
        type(token) is int and 0 <= token < vocabulary for token in tokens
    ):
        raise BaseUnknown(f"trained_tokens must be a list of token ids below {vocabulary}.")


@torch.no_grad()
def require_features(config: Json, network: nn.Module) -> None:
    """Raise ModelNotTrainable unless both towers return one finite vector per input, equally wide.

    The rules on configs cover open_clip's own towers only; this check runs any tower.
    """
    model = ClipModel(network=network.eval(), config=config)
    try:
        height, width = model.preprocess.size
        image = model.encode_images(torch.zeros(1, 3, height, width, dtype=torch.uint8))
        text = model.encode_texts(["a photo"])
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise ModelNotTrainable(f"The towers cannot encode an image and a text: {error}") from error
    if image.ndim != 2 or image.shape != text.shape:
        shapes = f"{tuple(image.shape)} for an image and {tuple(text.shape)} for a text"
        raise ModelNotTrainable(f"The towers' features have different shapes: {shapes}.")
    if not torch.stack([image, text]).isfinite().all():
        raise ModelNotTrainable("The towers' features contain NaN or infinity.")


# Progress while the files of a base are downloaded and read.

LOOK_EVERY_S = 1.0
CACHES = (Path(HF_HUB_CACHE), Path("~/.cache/clip").expanduser())  # where open_clip keeps weights

_T = TypeVar("_T")


def read_while_growing(
    read: Callable[[], _T],
    monitor: Monitor,
    *,
    caches: tuple[Path, ...] = CACHES,
    look_every_s: float = LOOK_EVERY_S,
) -> _T:
    """Return what `read` returns; meanwhile, report the bytes that arrive to the monitor.

    Raises what `read` raises. A stalled download reports nothing, so the job's lease expires as
    for any hung worker.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        result: Future[_T] = pool.submit(read)
        before = size_of(caches)
        seen = before
        while not wait([result], timeout=look_every_s).done:
            size = size_of(caches)
            if size > seen:
                seen = size
                monitor.advance("loading", size - before, 0)
        return result.result()


def size_of(folders: tuple[Path, ...]) -> int:
    """Return the size in bytes of all files below the folders; files that vanish count 0."""
    total = 0
    for folder in folders:
        for path in folder.rglob("*"):
            try:
                total += 0 if path.is_symlink() else path.stat().st_size
            except FileNotFoundError:
                continue
    return total
