"""Import base weights: the pre-trained models that the roots of models are made from."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import open_clip
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.constants import HF_HUB_CACHE
from safetensors import SafetensorError
from torch import nn

from core.artifacts.store import Artifacts, BytesCallback, ignore_bytes
from core.bases.folders import (
    FOLDER_PREFIX,
    is_of_transformers,
    named_file,
    read_config,
    read_text_config,
    require_weights_name,
    root_of,
    weights_files,
)
from core.clip.base_weights import StoredTensor, fill, is_openais, stored_tensors
from core.clip.model import ClipModel, empty_network, publish
from core.clip.text_towers import built_text_cfg
from core.engines.own_tokenizer import read_own_tokenizer, require_clips_tokenizer
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
from core.registry.text_towers import TEXT_CONFIG, text_config
from core.registry.versions import Weights
from core.values import Json

BUNDLED = Path(__file__).parents[2] / "models" / "tiny"


class BaseImporter:
    """An importer that stores bases as fp32 weights.

    A base is `bundled`, `NAME:PRETRAINED` as open_clip lists them (`ViT-B-32:openai`), a folder
    that open_clip or transformers have written, with or without `local-dir:`, or `NAME:/PATH` of a
    file. Folder and file lie below one of `folders`.
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
        if named := named_file(base):
            name, path = named
            return read_file(name, self._allowed(path), moved)
        name, _, pretrained = base.partition(":")
        if pretrained and not base.startswith(FOLDER_PREFIX) and "/" not in name:
            return read_pretrained(name, pretrained)
        return read_folder(self._allowed(Path(base.removeprefix(FOLDER_PREFIX))), moved)

    def _allowed(self, path: Path) -> Path:
        root_of(path, self._folders)
        return path.resolve()


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
    foreign = text_config(model_cfg)
    own = brings_tokenizer(model_cfg) and _hub_tokenizer(model_cfg["text_cfg"]["hf_tokenizer_name"])
    try:
        with built_text_cfg({"model_cfg": model_cfg, **foreign}) as text_cfg:
            network: nn.Module = open_clip.create_model(
                name,
                pretrained=pretrained,
                force_quick_gelu=bool(tag.get("quick_gelu")),
                **({"text_cfg": text_cfg} if foreign else {}),
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
    config |= foreign
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


# Bases in folders: a config and weights, as open_clip or transformers save them.


def read_folder(folder: Path, moved: BytesCallback = ignore_bytes) -> tuple[Json, nn.Module]:
    """Return the config and network of a folder.

    Raises BaseUnknown, PromptInvalid, ModelNotTrainable or WeightsFormat.
    """
    config = {**read_config(folder), **_read_extras(folder)}
    config.pop("precision", None)  # of a version's download: nobody has scored a root in it
    for name in ("tokenizer_config", TEXT_CONFIG):  # of a version's download, too: in their files
        config.pop(name, None)
    require_trainable(config["model_cfg"])
    config |= read_text_config(folder, config["model_cfg"])
    _require_sound_extras(config.get("perennial", {}), vocabulary_size(config))
    names = [path.name for path in folder.iterdir()]
    require_tokenizer(config["model_cfg"], names)
    if is_of_transformers(folder) and not brings_tokenizer(config["model_cfg"]):
        require_clips_tokenizer(folder)
    paths = [folder / name for name in weights_files(names)]
    with _saying_what_differs(folder.name):
        return config, _network(config, stored_tensors(paths), folder, moved)


def read_file(name: str, path: Path, moved: BytesCallback = ignore_bytes) -> tuple[Json, nn.Module]:
    """Return the config and network of an architecture of open_clip, with weights of a file.

    Raises BaseUnknown, ModelNotTrainable or WeightsFormat.
    """
    model_cfg = open_clip.get_model_config(name)
    if model_cfg is None:
        raise BaseUnknown(f"open_clip has no model named {name!r}.")
    require_weights_name(path.name)
    if not path.is_file():
        raise BaseUnknown(f"There is no file {path.name!r} in {path.parent.name!r}.")
    require_trainable(model_cfg)
    require_tokenizer(model_cfg, [one.name for one in path.parent.iterdir()])
    with _saying_what_differs(path.name):
        tensors = stored_tensors([path])
        if openais := is_openais(tensors):
            model_cfg["quick_gelu"] = True
        config = {"model_cfg": model_cfg, "preprocess_cfg": _preprocess_cfg(name, openais=openais)}
        config |= read_text_config(path.parent, model_cfg)
        return config, _network(config, tensors, path.parent, moved)


def _network(
    config: dict[str, Any], tensors: Sequence[StoredTensor], folder: Path, moved: BytesCallback
) -> nn.Module:
    """Return the network of a config, with its weights and the tokenizer of a folder."""
    network = empty_network(config)
    fill(network, tensors, moved)
    if brings_tokenizer(config["model_cfg"]):
        _add_tokenizer(config, network, folder, moved)
    require_features(config, network)
    return network


@contextmanager
def _saying_what_differs(where: str) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError, RuntimeError, TypeError, ValueError, LookupError) as error:
        raise BaseUnknown(f"The weights in {where!r} do not match its config: {error}") from error


def _preprocess_cfg(name: str, *, openais: bool) -> dict[str, Any]:
    """Return how all weights that open_clip lists for an architecture have images prepared.

    Raises BaseUnknown if they differ.
    """
    tags = ["openai"] if openais else open_clip.list_pretrained_tags_by_model(name)
    found = []
    for tag in tags:
        listed = open_clip.get_pretrained_cfg(name, tag)
        settings = {key: listed[key] for key in _PREPARED if listed.get(key)}
        plain: dict[str, Any] = json.loads(json.dumps(settings))  # tuples become lists
        if plain not in found:
            found.append(plain)
    if len(found) > 1:
        raise BaseUnknown(
            f"open_clip lists weights of {name} that have images prepared in {len(found)} ways: "
            "put an open_clip_config.json beside the file, and name their folder."
        )
    return found[0] if found else {}


_PREPARED = ("mean", "std", "interpolation", "resize_mode")


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
