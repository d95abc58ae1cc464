"""The header of a safetensors file (huggingface.co/docs/safetensors, "Format")."""

import json
from dataclasses import dataclass
from math import prod

from core.domain.values import Json
from core.errors import BundleInvalid

LENGTH_BYTES = 8  # of the header's length, little-endian
MOST_HEADER_BYTES = 16 * 1024**2
_WIDTHS = {"F64": 8, "F32": 4, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}  # bytes of an element


@dataclass(frozen=True, kw_only=True)
class TensorSlot:
    """A tensor's place: its bytes follow those of the slot before."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int  # bytes


def header_length(data: bytes) -> int:
    """Return the length of a header in bytes. Raises BundleInvalid."""
    length = int.from_bytes(data, "little")
    if len(data) < LENGTH_BYTES or length > MOST_HEADER_BYTES:
        raise BundleInvalid("The weights have no header, or one that is too long.")
    return length


def read_header(data: bytes) -> tuple[TensorSlot, ...]:
    """Return the slots of a file, in its order, which fill it without a gap. Raises BundleInvalid.

    Only dtypes that versions have are read: a version never holds half-precision tensors.
    """
    try:
        rows = json.loads(data)
        rows.pop("__metadata__", None)
        slots = [(tuple(row["data_offsets"]), _slot(name, row)) for name, row in rows.items()]
        placed = sorted(slots, key=lambda one: one[0])
        offset = 0
        for (begin, end), slot in placed:
            if begin != offset or end - begin != slot.size:
                raise BundleInvalid("The header of the weights leaves gaps or overlaps.")
            offset = end
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BundleInvalid("The header of the weights cannot be read.") from error
    return tuple(slot for _, slot in placed)


def _slot(name: str, row: Json) -> TensorSlot:
    shape = tuple(row["shape"])
    if not all(isinstance(side, int) and side >= 0 for side in shape):
        raise ValueError("not a shape")
    dtype = str(row["dtype"])
    return TensorSlot(name=name, dtype=dtype, shape=shape, size=_WIDTHS[dtype] * prod(shape))
