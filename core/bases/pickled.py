"""Pickled weights, which a confined process reads: where each tensor's numbers lie in the file.

A pickle may name any function to be called. The process calls those alone that make tensors, has no
files, network or environment, and limited memory and time; it does not read the numbers. It reads
what `torch.save` writes, as `torch.load` does with `weights_only`, and also archives of
TorchScript such as OpenAI's own, which that refuses.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from core.errors import BaseUnknown
from core.images.frames import LENGTH, OK, TOO_LARGE
from core.images.process import ConfinedProcess

READ = b"r"  # the task
REFUSED = b"X"  # an outcome: the file names something that no weights need
SECONDS, MEMORY_BYTES, REPLY_BYTES = 30.0, 1024**3, 32 * 1024**2
MOST_PICKLE_BYTES = 64 * 1024**2  # of names and shapes
SIZES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
_MODULE = "core.bases.pickled_child"


@dataclass(frozen=True, kw_only=True)
class PickledTensor:
    """A tensor of a file of pickled weights."""

    name: str
    dtype: str  # as safetensors calls it
    shape: Sequence[int]
    stride: Sequence[int]  # in elements
    offset: int  # of the first element, in bytes from the file's beginning
    elements: int  # from the first to the last one


def read_pickled(path: Path) -> list[PickledTensor]:
    """Return the tensors of a file. Raises BaseUnknown, with what is wrong with it."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            told = _ask(file.fileno(), path.name)
    except OSError as error:
        raise BaseUnknown(f"The weights {path.name!r} cannot be opened.") from error
    try:
        tensors = [_checked(one, size) for one in told]
    except (ValueError, TypeError, LookupError) as error:
        raise BaseUnknown(f"The weights {path.name!r} are damaged.") from error
    if not tensors:
        raise BaseUnknown(f"The file {path.name!r} contains no state dict of tensors.")
    return tensors


def _ask(descriptor: int, name: str) -> list[Any]:
    process = ConfinedProcess(
        _MODULE,
        (MEMORY_BYTES, ceil(SECONDS) + 1, descriptor),
        seconds=SECONDS,
        reply_bytes=REPLY_BYTES,
        file=descriptor,
    )
    try:
        outcome, body = process.ask_once(READ + LENGTH.pack(0))
    except TimeoutError as error:
        raise BaseUnknown(f"Reading {name!r} takes more than {SECONDS:g} seconds.") from error
    except (OSError, EOFError) as error:
        raise BaseUnknown(f"Reading {name!r} takes too much memory or ends the process.") from error
    finally:
        process.stop()
    if outcome == OK:
        found: list[Any] = json.loads(body)
        return found
    if outcome == TOO_LARGE:
        raise BaseUnknown(f"Reading {name!r} takes too much memory.")
    reason = body.decode(errors="replace") if outcome == REFUSED else "it is damaged"
    raise BaseUnknown(f"The weights {name!r} cannot be read: {reason}.")


def _checked(told: Any, size: int) -> PickledTensor:
    """Return what the process says of a tensor. Raises ValueError if the file has no such bytes."""
    name, dtype, shape, stride, offset, elements = told
    numbers = (*shape, *stride, offset, elements)
    if not isinstance(name, str) or not all(type(one) is int and one >= 0 for one in numbers):
        raise ValueError("not a tensor")
    if len(shape) != len(stride) or offset + elements * SIZES[dtype] > size:
        raise ValueError("beyond the file")
    last = sum((side - 1) * step for side, step in zip(shape, stride, strict=True))
    if elements != (last + 1 if all(shape) else 0):
        raise ValueError("beyond its elements")
    return PickledTensor(
        name=name, dtype=dtype, shape=shape, stride=stride, offset=offset, elements=elements
    )
