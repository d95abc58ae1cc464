"""Files of pickled weights that somebody has made to do something else."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from core.bases import pickled
from core.bases.pickled import read_pickled
from core.errors import BaseUnknown


def refusal(path: Path) -> str:
    with pytest.raises(BaseUnknown) as told:
        read_pickled(path)
    return told.value.message


class _Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


def test_a_pickle_that_runs_something_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    torch.save({"a": _Call(os.system, f"touch {ran}")}, tmp_path / "a.pt")
    assert "'posix.system', which loading could run as code" in refusal(tmp_path / "a.pt")
    state = OrderedDict(a=torch.zeros(2), b=_Call(exec, f"open({str(ran)!r}, 'w')"))
    torch.save({"state_dict": state}, tmp_path / "b.pt")
    assert ".exec', which loading could run" in refusal(tmp_path / "b.pt")
    assert not ran.exists()


def archive(path: Path, data: bytes, *, storage: bytes = b"", packed: bool = False) -> Path:
    """As `torch.save` lays it out."""
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", data, compress_type=zipfile.ZIP_DEFLATED)
        file.writestr("a/data/0", storage, compress_type=kind)
    return path


def tensor_pickle(start: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """A state dict of one tensor of the storage "0", as torch writes it."""

    class Storage:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            key = ("storage", torch.FloatStorage, "0", "cpu", 4)
            return key if isinstance(obj, Storage) else None

    out = io.BytesIO()
    rebuild = torch._utils._rebuild_tensor_v2
    call = _Call(rebuild, Storage(), start, shape, stride, False, OrderedDict())
    Pickler(out, protocol=2).dump({"a": call})
    return out.getvalue()


def test_a_tensor_lies_where_it_is_said_to_lie(tmp_path: Path) -> None:
    data = tensor_pickle(1, (3,), (1,))
    (found,) = read_pickled(archive(tmp_path / "a.pt", data, storage=bytes(12) + b"abcd"))
    assert (found.name, found.dtype, found.elements) == ("a", "F32", 3)
    whole = (tmp_path / "a.pt").read_bytes()
    assert whole[found.offset : found.offset + 12] == bytes(8) + b"abcd"


@pytest.mark.parametrize(
    ("start", "shape", "stride"),
    [
        (2, (3,), (1,)),
        (0, (4, 4), (4, 1)),
        (0, (2,), (1 << 62,)),
        (-1, (2,), (1,)),
        (0, (3,), (-1,)),
        (0, (-2, -2), (1, 1)),
        (0, (2, 2), (1,)),
    ],
)
def test_a_tensor_that_reaches_beyond_its_numbers_is_refused(
    start: int, shape: tuple[int, ...], stride: tuple[int, ...], tmp_path: Path
) -> None:
    data = tensor_pickle(start, shape, stride)
    told = refusal(archive(tmp_path / "a.pt", data, storage=bytes(16)))
    assert "more elements than are stored" in told or "damaged" in told


def test_the_process_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.pt").write_bytes(bytes(100))
    for told in (
        ["a", "F32", [25], [1], 4, 25],  # beyond the file
        ["a", "F32", [25], [1], 0, 24],  # beyond what would be read
        ["a", "F99", [1], [1], 0, 1],
        ["a", "F32", [True], [1], 0, 1],
        ["a", "F32", [1], [1], -4, 1],
        ["a"],
    ):
        monkeypatch.setattr(pickled, "_ask", lambda *_, told=told: [told])
        assert "damaged" in refusal(tmp_path / "a.pt")


def test_what_takes_too_much_memory_or_is_no_file_of_torch_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickled, "MEMORY_BYTES", 256 * 1024**2)
    bomb = b"\x80\x02(" + b"}" * 5_000_000 + b"t."
    assert "too much memory" in refusal(archive(tmp_path / "bomb.pt", bomb))
    large = b"\x80\x02" + b"N" * pickled.MOST_PICKLE_BYTES
    assert "too large" in refusal(archive(tmp_path / "large.pt", large))
    numbers = tensor_pickle(0, (4,), (1,))
    packed = archive(tmp_path / "packed.pt", numbers, storage=bytes(16), packed=True)
    assert "compressed" in refusal(packed)
    torch.save({"a": torch.zeros(2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert "before 1.6" in refusal(tmp_path / "old.pt")
    (tmp_path / "none.pt").write_bytes(b"")
    refusal(tmp_path / "none.pt")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    assert "no state dict of tensors" in refusal(tmp_path / "empty.pt")
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    assert "contains no state dict" in refusal(tmp_path / "list.pt")


def test_a_pickle_that_takes_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickled, "SECONDS", 0.01)
    torch.save({str(number): torch.zeros(1) for number in range(2000)}, tmp_path / "a.pt")
    assert "more than 0.01 seconds" in refusal(tmp_path / "a.pt")
