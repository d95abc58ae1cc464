"""The artifact store in a folder: `ab/cdef...` holds the bytes whose SHA-256 is `abcdef...`."""

import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.adapters.artifacts.local_files import holds, is_whole, read_all, write_all
from core.adapters.artifacts.pieces import hashed, pieces
from core.domain.values import Digest
from core.errors import ArtifactCorrupt, ArtifactMissing, StorageFull, is_full_disk
from core.ports import Moved, StoredArtifact, nobody

_DIGEST = re.compile(r"[0-9a-f]{64}")
_TEMPORARY = ".new-"  # no digest begins so


class LocalArtifacts:
    """The port `Artifacts` over a local folder, which is made at the first `put`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, data: bytes | memoryview, moved: Moved = nobody) -> Digest:
        """Store durably and return the digest; what is there already is young again.

        The bytes reach the disk, are read back and compared before the file gets its name, so a
        name never stands for half a file; a file that is there already is read too, and replaced if
        it is damaged. Raises StorageFull, leaving nothing behind, and ArtifactCorrupt when the
        disk does not give back what was written.
        """
        digest = hashed(pieces(data), moved)
        path = self._path(digest)
        if is_whole(path, digest, moved) and _rejuvenate(path):
            return digest
        try:
            self._write(path, data, digest, moved)
        except OSError as error:
            if is_full_disk(error):
                raise StorageFull(needed_bytes=len(data), free_bytes=self.free_bytes()) from error
            raise
        return digest

    def get(self, digest: Digest, moved: Moved = nobody) -> bytes:
        """The bytes, verified. Raises ArtifactMissing or ArtifactCorrupt."""
        try:
            data, found = read_all(self._path(digest), moved)
        except FileNotFoundError:
            raise ArtifactMissing(digest=digest) from None
        if found != digest:
            raise ArtifactCorrupt(digest=digest)
        return data

    def has(self, digest: Digest) -> bool:
        """Whether the bytes are there (not verified)."""
        return bool(_DIGEST.fullmatch(digest)) and self._path(digest).is_file()

    def delete(self, digest: Digest) -> None:
        """Forget the bytes; no error when they are not there."""
        if self.has(digest):
            self._path(digest).unlink(missing_ok=True)

    def collect(self, digest: Digest, older_than_s: float) -> bool:
        """Forget the bytes unless somebody has put them since; whether they were forgotten."""
        path = self._path(digest)
        try:
            with _locked(path.parent, fcntl.LOCK_EX):
                if time.time() - path.stat().st_mtime < older_than_s:
                    return False
                path.unlink()
        except FileNotFoundError:
            return False
        return True

    def digests(self) -> Iterator[Digest]:
        """All digests in the store, in no order."""
        for path in self._folder.glob("[0-9a-f][0-9a-f]/*"):
            name = path.parent.name + path.name
            if _DIGEST.fullmatch(name):
                yield Digest(name)

    def stored(self) -> Iterator[StoredArtifact]:
        """All artifacts in the store, in no order."""
        for digest in self.digests():
            try:
                facts = self._path(digest).stat()
            except FileNotFoundError:
                continue  # deleted since it was listed
            age_s = time.time() - facts.st_mtime
            yield StoredArtifact(digest=digest, size=facts.st_size, age_s=age_s)

    def sweep(self, older_than_s: float) -> int:
        """Remove temporaries that a dead writer left; how many."""
        before = time.time() - older_than_s
        swept = 0
        for path in self._folder.glob(f"[0-9a-f][0-9a-f]/{_TEMPORARY}*"):
            try:
                if path.stat().st_mtime <= before:
                    path.unlink()
                    swept += 1
            except FileNotFoundError:
                continue  # its writer has just finished
        return swept

    def free_bytes(self) -> int:
        """Room left on the disk that holds the folder."""
        folder = self._folder.absolute()
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def _path(self, digest: Digest) -> Path:
        """Where the bytes lie; a name that is no digest never touches the disk."""
        if not _DIGEST.fullmatch(digest):
            raise ArtifactMissing(digest=digest[:80])
        return self._folder / digest[:2] / digest[2:]

    def _write(self, path: Path, data: bytes | memoryview, digest: Digest, moved: Moved) -> None:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            _sync_folder(path.parent.parent)
        temporary = path.with_name(_TEMPORARY + secrets.token_hex(8))
        try:
            with temporary.open("x+b", buffering=0) as file:
                write_all(file.fileno(), data, moved)
                file.seek(0)
                if not holds(file.fileno(), data, moved):
                    raise ArtifactCorrupt(digest=digest)
            with _locked(path.parent, fcntl.LOCK_SH) as folder:
                temporary.rename(path)
                os.fsync(folder)
        finally:
            temporary.unlink(missing_ok=True)


def _rejuvenate(path: Path) -> bool:
    """Give a file the present time; False when it has been collected meanwhile."""
    try:
        with _locked(path.parent, fcntl.LOCK_SH):
            os.utime(path)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[int]:
    """Between writers, who share the lock, and a collector, who must have it alone.

    It is held for one rename until that is durable, or one look at a file's time and its removal.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, how)
        yield descriptor
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
