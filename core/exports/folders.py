"""The folder that open_clip loads, written as files or as a tar of them."""

import io
import json
import math
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from core.artifacts.store import Artifacts, BytesCallback, ignore_bytes
from core.bundles.write import PIECE, Readable, add_file
from core.registry.architecture import TOKENIZER, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE
from core.registry.text_towers import TEXT_CONFIG, TEXT_CONFIG_FILE
from core.registry.versions import TensorEntry, Version, Weights
from core.values import Json

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"


def write_tar(artifacts: Artifacts, version: Version, folder: str, out: BinaryIO) -> None:
    """Write a tar of one folder; the same version always gives the same bytes.

    The safetensors file is written tensor by tensor, each verified as it is read: an 8-byte
    little-endian header length, a JSON header, the raw bytes in header order. Raises
    ArtifactGone, ArtifactMissing or ArtifactCorrupt.
    """
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, file, size in _files(artifacts, version):
            add_file(tar, f"{folder}/{name}", file, size)


def write_folder(
    artifacts: Artifacts, version: Version, folder: Path, moved: BytesCallback = ignore_bytes
) -> None:
    """Write the files of `write_tar` into a folder. Raises the same errors."""
    for name, file, _ in _files(artifacts, version):
        with (folder / name).open("wb") as out:
            while piece := file.read(PIECE):
                out.write(piece)
                moved(len(piece))


def _files(artifacts: Artifacts, version: Version) -> Iterator[tuple[str, Readable, int]]:
    """Yield each file's name, content and size in bytes."""
    version.require_weights()
    weights = Weights.from_bytes(artifacts.get(version.digest))
    config = _json(weights.config)
    yield CONFIG_FILE, io.BytesIO(config), len(config)
    if foreign := weights.config.get(TEXT_CONFIG):
        settings = _json(foreign)
        yield TEXT_CONFIG_FILE, io.BytesIO(settings), len(settings)
    own = [tensor for tensor in weights.tensors if tensor.name == TOKENIZER]
    for tokenizer in own:
        yield TOKENIZER_FILE, io.BytesIO(artifacts.get(tokenizer.digest)), tokenizer.size
        described = _json(weights.config["tokenizer_config"])
        yield TOKENIZER_CONFIG_FILE, io.BytesIO(described), len(described)
        weights = replace(weights, tensors=tuple(t for t in weights.tensors if t != tokenizer))
    header = _header(weights)
    yield WEIGHTS_FILE, _Tensors(artifacts, weights, header), len(header) + weights.size


def _json(value: Json) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode()


def _header(weights: Weights) -> bytes:
    """Return the length prefix and JSON header of a safetensors file, padded to 8 bytes."""
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
    """Return the tensors with the widest elements first, then by name.

    So each starts at a multiple of its width.
    """
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
