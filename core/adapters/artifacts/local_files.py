"""Writing, comparing and reading a file in pieces."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from core.adapters.artifacts.chunked_io import PIECE, hash_pieces, pieces, read_pieces
from core.domain.values import Digest
from core.errors import ArtifactCorrupt
from core.ports import BytesCallback, ignore_bytes

SYNC_EVERY = 16 << 20  # bytes; keeps each sync of a slow disk shorter than a lease


def write_all(descriptor: int, data: bytes | memoryview, moved: BytesCallback) -> None:
    """Write the data and sync it as it is written, since one sync at the end may take minutes."""
    unsynced = 0
    for piece in pieces(data):
        rest = piece
        while rest:
            written = os.write(descriptor, rest)
            moved(written)
            unsynced += written
            rest = rest[written:]
        if unsynced >= SYNC_EVERY:
            os.fdatasync(descriptor)
            moved(0)
            unsynced = 0
    os.fsync(descriptor)


def write_whole(
    path: Path, data: bytes | memoryview, digest: Digest, moved: BytesCallback = ignore_bytes
) -> None:
    """Write a new file, sync it, read it back and compare. Raises ArtifactCorrupt."""
    with path.open("x+b", buffering=0) as file:
        write_all(file.fileno(), data, moved)
        file.seek(0)
        if not holds(file.fileno(), data, moved):
            raise ArtifactCorrupt(digest=digest)


def holds(descriptor: int, data: bytes | memoryview, moved: BytesCallback) -> bool:
    """Return whether the rest of the file, from its current position, equals `data`.

    Equal bytes have an equal digest, and comparing is cheaper than hashing again.
    """
    rest = memoryview(data)
    while piece := os.read(descriptor, PIECE):
        if piece != bytes(rest[: len(piece)]):
            return False
        rest = rest[len(piece) :]
        moved(len(piece))
    return not rest


def read_all(path: Path, moved: BytesCallback) -> tuple[bytes, Digest]:
    """Return the bytes of a file and their digest."""
    with path.open("rb", buffering=0) as file:
        return read_pieces(lambda size: os.read(file.fileno(), size), moved)


def is_whole(path: Path, digest: Digest, moved: BytesCallback) -> bool:
    """Return whether the file exists and has this digest, without keeping its bytes."""
    try:
        descriptor = os.open(path, os.O_RDONLY)  # mostly there is none, which this tells soonest
    except FileNotFoundError:
        return False
    try:
        return hash_pieces(iter(lambda: os.read(descriptor, PIECE), b""), moved) == digest
    finally:
        os.close(descriptor)


def read_verified(path: Path, digest: Digest, moved: BytesCallback) -> Iterator[bytes]:
    """Yield the bytes of a file in pieces. Raises ArtifactCorrupt after the last one."""
    total = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := os.read(file.fileno(), PIECE):
            total.update(piece)
            moved(len(piece))
            yield piece
    if total.hexdigest() != digest:
        raise ArtifactCorrupt(digest=digest)


class FileWriter:
    """The `ArtifactWriter` port over an open temporary file."""

    def __init__(self, descriptor: int, name: Callable[[Digest, BytesCallback], None]) -> None:
        """Write to `descriptor`; `name` gives the file its name once it is whole."""
        self._descriptor = descriptor
        self._name = name
        self._hash = hashlib.sha256()
        self._unsynced = 0

    def write(self, piece: bytes) -> None:
        """Add a piece. Raises OSError."""
        self._hash.update(piece)
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self._unsynced += len(piece)
        if self._unsynced >= SYNC_EVERY:
            os.fdatasync(self._descriptor)
            self._unsynced = 0

    def commit(self, moved: BytesCallback = ignore_bytes) -> Digest:
        """Sync the file, compare its hash with that of the pieces, and give it its name."""
        digest = Digest(self._hash.hexdigest())
        os.fsync(self._descriptor)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        parts = iter(lambda: os.read(self._descriptor, PIECE), b"")
        if hash_pieces(parts, moved) != digest:
            raise ArtifactCorrupt(digest=digest)
        self._name(digest, moved)
        return digest
