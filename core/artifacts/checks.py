"""Files read and written in chunks, and checked by their digests."""

import hashlib
import io
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from core.artifacts.store import BytesCallback, ignore_bytes
from core.errors import ArtifactCorrupt
from core.values import Digest

# Pieces, so that progress on a large artifact can be reported.

PIECE = 256 * 1024  # bytes; the kernel spends twice as long on much larger writes


def pieces(data: bytes | memoryview) -> Iterator[memoryview]:
    """Yield consecutive views of at most PIECE bytes, without copying."""
    rest = memoryview(data)
    for begin in range(0, len(rest), PIECE):
        yield rest[begin : begin + PIECE]


def hash_pieces(parts: Iterable[bytes | memoryview], moved: BytesCallback) -> Digest:
    """Return the SHA-256 of the concatenated parts, calling `moved` after each."""
    total = hashlib.sha256()
    for piece in parts:
        total.update(piece)
        moved(len(piece))
    return Digest(total.hexdigest())


def verified(
    parts: Iterable[bytes], digest: Digest, moved: BytesCallback = ignore_bytes
) -> Iterator[bytes]:
    """Yield the parts of an artifact. Raises ArtifactCorrupt after the last one."""
    total = hashlib.sha256()
    for piece in parts:
        total.update(piece)
        moved(len(piece))
        yield piece
    if total.hexdigest() != digest:
        raise ArtifactCorrupt(digest=digest)


def joined(parts: Iterable[bytes]) -> bytes:
    """Return the concatenated parts, none of which is kept beside the whole."""
    out = io.BytesIO()
    out.writelines(parts)
    return out.getvalue()


class ReportingBody(io.BytesIO):
    """A request body that reports every piece which the connection reads."""

    def __init__(self, data: bytes | memoryview, moved: BytesCallback) -> None:
        super().__init__(data)
        self._moved = moved

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most `size` bytes, or all by default, and report how many."""
        piece = super().read(size)
        self._moved(len(piece))
        return piece


# Files in pieces: written, compared and read.

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


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Yield a descriptor from which a file, or a folder, is read."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def file_pieces(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file in pieces."""
    with opened(path) as descriptor:
        while piece := os.read(descriptor, PIECE):
            yield piece


def is_whole(path: Path, digest: Digest, moved: BytesCallback) -> bool:
    """Return whether the file exists and has this digest, without keeping its bytes."""
    try:
        return hash_pieces(file_pieces(path), moved) == digest
    except FileNotFoundError:
        return False


def free_bytes_at(folder: Path) -> int:
    """Return the free bytes on the disk that holds a folder, or will."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


class FileWriter:
    """Writes an artifact to an open temporary file."""

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


# Files that were verified a short while ago, which are not read again until written.

VERIFIED_FOR_S = 3600.0  # then a file is read again: disks lose bytes without a write
SETTLED_S = 2.0  # a file written later may be written again within one tick of its file system
MOST = 50_000  # files to remember


class VerifiedFiles:
    """Verifies files by their SHA-256; safe to share between threads.

    A file that was verified within the hour and that nothing has written since is not read again:
    the bytes would come from memory, and reading those of a large version takes seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._verified: dict[Digest, tuple[tuple[int, ...], float]] = {}  # and when

    def verify(self, path: Path, digest: Digest) -> None:
        """Verify the bytes of a file. Raises FileNotFoundError or ArtifactCorrupt."""
        found, now = path.stat(), self._clock()
        # One of these changes whenever a file is written or replaced.
        facts = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        before, at = self._verified.get(digest, ((), 0.0))
        if facts == before and 0 <= now - at < VERIFIED_FOR_S:
            return
        for _ in verified(file_pieces(path), digest):
            pass
        if now - found.st_ctime >= SETTLED_S:
            if len(self._verified) >= MOST:
                self._verified.clear()
            self._verified[digest] = facts, now
