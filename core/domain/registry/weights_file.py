"""The file that the weights of a folder are read from."""

from collections.abc import Collection
from pathlib import PurePath

from core.errors import BaseUnknown, WeightsFormat

_PREFERRED = ("open_clip_model.safetensors", "model.safetensors")
_PICKLED = frozenset({".bin", ".pt", ".pth", ".ckpt"})  # loading them could run code


def weights_file(names: Collection[str], *, pointer: str | None = None) -> str:
    """Return which of the files of a folder holds its weights.

    Raises WeightsFormat if there are pickled weights alone, or BaseUnknown if there are none.
    """
    found = sorted(name for name in names if name.endswith(".safetensors"))
    preferred = [name for name in _PREFERRED if name in found]
    if found:
        return (preferred or found)[0]
    if any(PurePath(name).suffix in _PICKLED for name in names):
        raise WeightsFormat(pointer=pointer)
    raise BaseUnknown("The base's folder contains no weights.", pointer=pointer)
