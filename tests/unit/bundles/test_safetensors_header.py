"""Headers of safetensors files, as the library writes them and as it would refuse them."""

import json
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from core.bundles.rules import LENGTH_BYTES, MOST_HEADER_BYTES, header_length, read_header
from core.errors import BundleInvalid


def test_the_librarys_own_files_are_read() -> None:
    arrays = {
        "b": np.ones((2, 3), "<f4"),
        "a": np.zeros((), "<i8"),
        "empty": np.zeros((0, 4), "<f4"),
        "also empty": np.zeros((0,), "<f4"),
    }
    data = save(arrays, metadata={"format": "pt"})
    length = header_length(data[:LENGTH_BYTES])
    slots = read_header(data[LENGTH_BYTES : LENGTH_BYTES + length])
    assert {slot.name: (slot.shape, slot.size) for slot in slots} == {
        name: (array.shape, array.nbytes) for name, array in arrays.items()
    }
    assert sum(slot.size for slot in slots) == len(data) - LENGTH_BYTES - length


@pytest.mark.parametrize("data", [b"", b"\1" * 7, (MOST_HEADER_BYTES + 1).to_bytes(8, "little")])
def test_a_header_is_there_and_not_too_long(data: bytes) -> None:
    with pytest.raises(BundleInvalid):
        header_length(data)


def row(dtype: str = "F32", shape: Any = (2,), begin: int = 0, end: int = 8) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "rows",
    [
        {"gap": row(begin=4, end=12)},
        {"a": row(), "overlaps": row(begin=4, end=12)},
        {"too small": row(end=4)},
        {"half": row("BF16", end=4)},
        {"negative": row(shape=[-1, -2])},
        {"no shape": {"dtype": "F32", "data_offsets": [0, 8]}},
        {"no row": 3},
        [1],
    ],
)
def test_slots_fill_the_file_without_a_gap(rows: Any) -> None:
    with pytest.raises(BundleInvalid):
        read_header(json.dumps(rows).encode())
