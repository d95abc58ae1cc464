"""The folders and files that bases are read from: where they may lie, and what is read of them."""

import json
import re
from collections.abc import Collection, Iterable
from pathlib import Path, PurePath
from typing import Any

from core.bases.huggingface import PROCESSOR_FILE, open_clip_config
from core.errors import BaseUnknown, WeightsFormat
from core.registry.text_towers import TEXT_CONFIG_FILE, text_config, text_tower_name
from core.values import Json

FOLDER_PREFIX = "local-dir:"
CONFIG_FILE = "open_clip_config.json"
TRANSFORMERS_CONFIG_FILE = "config.json"
_FILE = re.compile(r"([\w.-]+):(/.+)", re.ASCII | re.DOTALL)


def named_file(base: str) -> tuple[str, Path] | None:
    """Return the architecture and the file of a base `NAME:/PATH`, else None."""
    found = None if base.startswith(FOLDER_PREFIX) else _FILE.fullmatch(base)
    return (found[1], Path(found[2])) if found else None


def root_of(path: Path, roots: Iterable[Path]) -> Path:
    """Return the root folder below which a path lies, links followed.

    Raises BaseUnknown, which names the setting of the root folders.
    """
    resolved = path.resolve()
    for root in roots:
        if resolved.is_relative_to(root.resolve()):
            return root.resolve()
    if not path.is_absolute():
        raise BaseUnknown
    example = json.dumps([str(path.parent)])
    raise BaseUnknown(
        f"{str(path)!r} lies in no root folder. Bases are read from the folders that the "
        "setting PERENNIAL_ROOT_FOLDERS names: set it for the API and the workers before they "
        f"start, for example PERENNIAL_ROOT_FOLDERS='{example}'."
    )


# The config of a folder.


def read_config(folder: Path) -> dict[str, Any]:
    """Return the open_clip config of a folder, made of that of transformers if it has no other.

    Raises BaseUnknown or ModelNotTrainable.
    """
    if (folder / CONFIG_FILE).is_file() or not (folder / TRANSFORMERS_CONFIG_FILE).is_file():
        return _read_open_clip(folder)
    return open_clip_config(read_object(folder / TRANSFORMERS_CONFIG_FILE), _read_processor(folder))


def read_text_config(folder: Path, model_cfg: Json) -> dict[str, Any]:
    """Return the `text_config` of a model whose weights lie in a folder: see `text_config`.

    Raises BaseUnknown or ModelNotTrainable.
    """
    path = folder / TEXT_CONFIG_FILE
    has_own = text_tower_name(model_cfg) and path.is_file()
    return text_config(model_cfg, read_object(path) if has_own else None)


def is_of_transformers(folder: Path) -> bool:
    """Return whether a folder's config is that of transformers."""
    return not (folder / CONFIG_FILE).is_file()


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file. Raises BaseUnknown."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BaseUnknown(f"{path.parent.name!r} has no readable {path.name}.") from error
    if not isinstance(found, dict):
        raise BaseUnknown(f"The {path.name} in {path.parent.name!r} is not a JSON object.")
    return found


def _read_open_clip(folder: Path) -> dict[str, Any]:
    if not (folder / CONFIG_FILE).is_file():
        raise BaseUnknown(
            f"{folder.name!r} has no {CONFIG_FILE}, and no {TRANSFORMERS_CONFIG_FILE} of "
            "transformers."
        )
    config = read_object(folder / CONFIG_FILE)
    if not isinstance(config.get("model_cfg"), dict):
        raise BaseUnknown(f"The {CONFIG_FILE} in {folder.name!r} has no model_cfg.")
    return config


def _read_processor(folder: Path) -> Json:
    if (folder / PROCESSOR_FILE).is_file():
        return read_object(folder / PROCESSOR_FILE)
    whole = folder / "processor_config.json"  # where newer releases write it
    if whole.is_file() and isinstance(found := read_object(whole).get("image_processor"), dict):
        return found
    raise BaseUnknown(
        f"{folder.name!r} has no {PROCESSOR_FILE}, which says how images are prepared: add it."
    )


# The files that hold weights.

PICKLED = (".bin", ".pt", ".pth", ".ckpt")
SAFETENSORS = ".safetensors"
_PREFERRED = (
    "open_clip_model.safetensors",
    "model.safetensors",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin",
)
_OTHERS = (".h5", ".msgpack", ".npz", ".onnx", ".gguf", ".pkl")
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.\w+)", re.ASCII)


def weights_files(names: Collection[str]) -> list[str]:
    """Return which of the files of a folder hold its weights: one, or the parts of one.

    Raises WeightsFormat if there are only weights that are not read, or BaseUnknown if there are
    none, parts are missing, or none of several is preferred.
    """
    safe = sorted(name for name in names if name.endswith(SAFETENSORS))
    pickled = sorted(name for name in names if PurePath(name).suffix in PICKLED)
    candidates = safe or pickled
    if preferred := [name for name in _PREFERRED if name in candidates]:
        return preferred[:1]
    if parts := _parts(candidates):
        return parts
    if safe or len(pickled) == 1:
        return candidates[:1]
    if pickled:
        raise BaseUnknown(
            f"The base's folder contains several weights, such as {pickled[0]!r} and "
            f"{pickled[1]!r}: name one, as ARCHITECTURE:/PATH."
        )
    if any(PurePath(name).suffix in _OTHERS for name in names):
        raise WeightsFormat
    raise BaseUnknown("The base's folder contains no weights.")


def require_weights_name(name: str) -> None:
    """Raise WeightsFormat for a file whose name is not one of weights that are read."""
    if PurePath(name).suffix not in {SAFETENSORS, *PICKLED}:
        raise WeightsFormat


def _parts(names: Collection[str]) -> list[str]:
    found = [(match, name) for name in names if (match := _PART.fullmatch(name))]
    if not found:
        return []
    first, _, count, _ = found[0][0].groups()
    parts = [name for match, name in found if match[1] == first and match[3] == count]
    if len(parts) != int(count):
        raise BaseUnknown(f"Of the {int(count)} parts of the weights {len(parts)} are there.")
    return parts
