"""Write, compare and read one file piece by piece."""

import os
from pathlib import Path

from core.adapters.artifacts.pieces import PIECE, gathered, hashed, pieces
from core.domain.values import Digest
from core.ports import Moved

SYNC_EVERY = 16 << 20  # bytes; no single sync of a slow disk shall take as long as a lease


def write_all(descriptor: int, data: bytes | memoryview, moved: Moved) -> None:
    """Write and sync: all along, for a disk that is told at the end may take minutes over it."""
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


def holds(descriptor: int, data: bytes | memoryview, moved: Moved) -> bool:
    """Whether a file holds from here on just the bytes of which the digest was taken.

    Equal bytes have an equal digest, and comparing is cheaper than hashing them again.
    """
    rest = memoryview(data)
    while piece := os.read(descriptor, PIECE):
        if piece != bytes(rest[: len(piece)]):
            return False
        rest = rest[len(piece) :]
        moved(len(piece))
    return not rest


def read_all(path: Path, moved: Moved) -> tuple[bytes, Digest]:
    """The bytes of a file and their digest."""
    with path.open("rb", buffering=0) as file:
        return gathered(lambda size: os.read(file.fileno(), size), moved)


def is_whole(path: Path, digest: Digest, moved: Moved) -> bool:
    """Whether a file is there and holds the bytes of its digest; they are not kept."""
    try:
        with path.open("rb", buffering=0) as file:
            return hashed(iter(lambda: os.read(file.fileno(), PIECE), b""), moved) == digest
    except FileNotFoundError:
        return False
