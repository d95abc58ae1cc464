"""Lay a version out as the folder that open_clip loads."""

import io
import json
import math
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from core.domain.registry.version import TensorEntry, Version, Weights
from core.ports import Artifacts, BytesCallback, ignore_bytes

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
PIECE = 1 << 20  # bytes


def write_tar(artifacts: Artifacts, version: Version, folder: str, out: BinaryIO) -> None:
    """Write a tar of one folder; the same version always gives the same bytes.

    The safetensors file is written tensor by tensor, each verified as it is read: an 8-byte
    little-endian header length, a JSON header, the raw bytes in header order. Raises
    ArtifactGone, ArtifactMissing or ArtifactCorrupt.
    """
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, file, size in _files(artifacts, version):
            _add(tar, f"{folder}/{name}", file, size)


def write_folder(
    artifacts: Artifacts, version: Version, folder: Path, moved: BytesCallback = ignore_bytes
) -> None:
    """Write the files of `write_tar` into a folder. Raises the same errors."""
    for name, file, _ in _files(artifacts, version):
        with (folder / name).open("wb") as out:
            while piece := file.read(PIECE):
                out.write(piece)
                moved(len(piece))


def _files(
    artifacts: Artifacts, version: Version
) -> Iterator[tuple[str, "BinaryIO | _Tensors", int]]:
    """Yield each file's name, content and size in bytes."""
    version.require_weights()
    weights = Weights.from_bytes(artifacts.get(version.digest))
    config = json.dumps(weights.config, indent=2, sort_keys=True).encode()
    yield CONFIG_FILE, io.BytesIO(config), len(config)
    header = safetensors_header(weights)
    yield WEIGHTS_FILE, _Tensors(artifacts, weights, header), len(header) + weights.size


def safetensors_header(weights: Weights) -> bytes:
    """Length prefix and JSON header of a safetensors file, padded to 8 bytes."""
    offset, rows = 0, {}
    for tensor in _file_order(weights):
        rows[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.size],
        }
        offset += tensor.size
    text = json.dumps(rows, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _file_order(weights: Weights) -> list[TensorEntry]:
    """Widest elements first, then by name: every tensor starts at a multiple of its width."""
    return sorted(weights.tensors, key=lambda t: (-t.size // max(1, math.prod(t.shape)), t.name))


class _Tensors(io.RawIOBase):
    """The bytes of a safetensors file, holding one tensor at a time."""

    def __init__(self, artifacts: Artifacts, weights: Weights, header: bytes) -> None:
        self._artifacts = artifacts
        self._waiting = list(reversed(_file_order(weights)))
        self._buffer = io.BytesIO(header)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._buffer.read(size)
        while not data and self._waiting:
            self._buffer = io.BytesIO(self._artifacts.get(self._waiting.pop().digest))
            data = self._buffer.read(size)
        while size > len(data) and self._waiting:
            self._buffer = io.BytesIO(self._artifacts.get(self._waiting.pop().digest))
            data += self._buffer.read(size - len(data))
        return data


def _add(tar: tarfile.TarFile, name: str, source: BinaryIO | _Tensors, size: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = size
    entry.mode = 0o644
    tar.addfile(entry, source)
