"""The artifact store in a folder: `ab/cdef...` holds the bytes whose SHA-256 is `abcdef...`."""

import fcntl
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain, groupby, islice
from pathlib import Path

from core.artifacts.checks import (
    FileWriter,
    VerifiedFiles,
    file_pieces,
    free_bytes_at,
    hash_pieces,
    is_whole,
    joined,
    opened,
    pieces,
    verified,
    write_whole,
)
from core.artifacts.store import BytesCallback, StoredArtifact, ignore_bytes
from core.errors import ArtifactMissing, raising_storage_full
from core.values import Digest, sha256

_DIGEST = re.compile(r"[0-9a-f]{64}")
_TEMPORARY = ".new-"  # prefix of temporary files; no digest starts with it
_TEMPORARIES = (f"[0-9a-f][0-9a-f]/{_TEMPORARY}*", f"{_TEMPORARY}*")


class FileBatch:
    """Artifacts written one by one, named together; safe to share between threads."""

    def __init__(self, folder: Path, name: Callable[[Iterable[tuple[Path, Digest]]], None]) -> None:
        """Write into `folder`; `name` gives files their names, all at once."""
        self._folder = folder
        self._name = name
        self._digests: set[Digest] = set()
        self._lock = threading.Lock()

    def add(self, data: bytes) -> Digest:
        """Write bytes, sync and compare them; return their digest. Raises ArtifactCorrupt."""
        digest = sha256(data)
        with self._lock:
            if digest in self._digests:
                return digest
            self._digests.add(digest)
        write_whole(self._folder / digest, data, digest)
        return digest

    def commit(self) -> None:
        """Give all files their names."""
        self._name([(self._folder / digest, digest) for digest in self._digests])


class LocalArtifacts:
    """The artifacts in a local folder, which the first `put` creates."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._verified = VerifiedFiles()

    def put(self, data: bytes | memoryview, moved: BytesCallback = ignore_bytes) -> Digest:
        """Store bytes durably and return their digest; the age of existing bytes is reset.

        The bytes are synced, read back and compared before the file gets its name, so that a name
        never refers to a partial file. An existing file is verified, and replaced if it is damaged.
        Raises StorageFull, leaving no file behind, and ArtifactCorrupt when the disk does not
        return what was written.
        """
        digest = hash_pieces(pieces(data), moved)
        path = self._path(digest)
        if is_whole(path, digest, moved) and reset_age(path):
            return digest
        temporary = path.with_name(_TEMPORARY + secrets.token_hex(8))
        with raising_storage_full(lambda: self._room() | {"needed_bytes": len(data)}):
            make_folder(path.parent)
            try:
                write_whole(temporary, data, digest, moved)
                name_files([(temporary, path)])
            finally:
                temporary.unlink(missing_ok=True)
        return digest

    def get(self, digest: Digest, moved: BytesCallback = ignore_bytes) -> bytes:
        """Return the verified bytes. Raises ArtifactMissing or ArtifactCorrupt."""
        return joined(self.pieces(digest, moved))

    @contextmanager
    def writer(self) -> Iterator[FileWriter]:
        """Yield a writer whose file gets its name at `commit`; without it, nothing stays."""
        folder = self._folder / "00"  # any of those that `sweep` looks into
        temporary = folder / (_TEMPORARY + secrets.token_hex(8))
        try:
            with raising_storage_full(self._room):
                make_folder(folder)
                with temporary.open("x+b", buffering=0) as file:
                    yield FileWriter(
                        file.fileno(),
                        lambda digest, moved: self._name_all([(temporary, digest)], moved),
                    )
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def batch(self) -> Iterator[FileBatch]:
        """Yield a batch whose files get their names at `commit`; without it, nothing stays."""
        folder = self._folder / (_TEMPORARY + secrets.token_hex(8))
        try:
            with raising_storage_full(self._room):
                make_folder(self._folder)
                folder.mkdir()
                with locked(folder, fcntl.LOCK_SH):
                    yield FileBatch(folder, self._name_all)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def pieces(self, digest: Digest, moved: BytesCallback = ignore_bytes) -> Iterator[bytes]:
        """Yield the bytes in pieces. Raises ArtifactMissing or, at the end, ArtifactCorrupt."""
        try:
            yield from verified(file_pieces(self._path(digest)), digest, moved)
        except FileNotFoundError:
            raise ArtifactMissing(digest=digest) from None

    def renew(self, digest: Digest) -> None:
        """Verify the bytes and reset their age. Raises ArtifactMissing or ArtifactCorrupt."""
        for _ in self.pieces(digest):
            pass
        if not reset_age(self._path(digest)):
            raise ArtifactMissing(digest=digest)

    def verify(self, digest: Digest) -> None:
        """Verify the bytes, unless they were within the hour and the file is as it was then."""
        try:
            self._verified.verify(self._path(digest), digest)
        except FileNotFoundError:
            raise ArtifactMissing(digest=digest) from None

    def has(self, digest: Digest) -> bool:
        """Return whether the bytes are stored, without verifying them."""
        return bool(_DIGEST.fullmatch(digest)) and self._path(digest).is_file()

    def delete(self, digest: Digest) -> None:
        """Delete the bytes, if they are stored."""
        if self.has(digest):
            self._path(digest).unlink(missing_ok=True)

    def delete_if_older(self, digest: Digest, older_than_s: float) -> bool:
        """Delete bytes stored at least `older_than_s` ago; return whether they were deleted."""
        path = self._path(digest)
        try:
            with locked(path.parent, fcntl.LOCK_EX):
                if time.time() - path.stat().st_mtime < older_than_s:
                    return False
                path.unlink()
        except FileNotFoundError:
            return False
        return True

    def digests(self) -> Iterator[Digest]:
        """Yield all digests in the store, in no order."""
        for path in self._folder.glob("[0-9a-f][0-9a-f]/*"):
            name = path.parent.name + path.name
            if _DIGEST.fullmatch(name):
                yield Digest(name)

    def stored(self) -> Iterator[StoredArtifact]:
        """Yield all artifacts in the store, in no order."""
        for digest in self.digests():
            try:
                facts = self._path(digest).stat()
            except FileNotFoundError:
                continue  # deleted since it was listed
            age_s = time.time() - facts.st_mtime
            yield StoredArtifact(digest=digest, size=facts.st_size, age_s=age_s)

    def sweep(self, older_than_s: float) -> int:
        """Remove temporary files and folders that a dead writer left; return how many."""
        before = time.time() - older_than_s
        swept = 0
        for path in chain.from_iterable(map(self._folder.glob, _TEMPORARIES)):
            try:
                if path.stat().st_mtime > before or is_locked(path):
                    continue
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
                swept += 1
            except FileNotFoundError:
                continue  # its writer has finished meanwhile
        return swept

    def free_bytes(self) -> int:
        """Return the free bytes on the disk that holds the folder."""
        return free_bytes_at(self._folder)

    def _room(self) -> dict[str, int]:
        return {"free_bytes": self.free_bytes()}

    def _path(self, digest: Digest) -> Path:
        """Return the path of the bytes.

        Raises ArtifactMissing, before any access to the disk, if `digest` is not a digest.
        """
        if not _DIGEST.fullmatch(digest):
            raise ArtifactMissing(digest=digest[:80])
        return self._folder / digest[:2] / digest[2:]

    def _name_all(
        self, files: Iterable[tuple[Path, Digest]], moved: BytesCallback = ignore_bytes
    ) -> None:
        """Give whole files their names, except those of which there is one already."""
        paths = [(temporary, self._path(digest), digest) for temporary, digest in files]
        name_files(
            (temporary, path)
            for temporary, path, digest in paths
            if not (is_whole(path, digest, moved) and reset_age(path))
        )


# The folders of a store: locked and synced while files in them get their names.

AT_ONCE = 64  # folders that are locked, each by an open file


def name_files(files: Iterable[tuple[Path, Path]]) -> None:
    """Give whole, synced files their paths durably; each comes with its temporary path.

    The names of a folder are synced together, and those of other folders mostly with them.
    """
    folders = groupby(sorted((path, temporary) for temporary, path in files), _folder_of)
    while some := [(folder, list(named)) for folder, named in islice(folders, AT_ONCE)]:
        with ExitStack() as locks:
            descriptors = []
            for folder, named in some:
                make_folder(folder)
                descriptors.append(locks.enter_context(locked(folder, fcntl.LOCK_SH)))
                for path, temporary in named:
                    os.utime(temporary)  # its age begins now, however long ago it was written
                    temporary.rename(path)
            for descriptor in descriptors:
                os.fsync(descriptor)


def _folder_of(named: tuple[Path, Path]) -> Path:
    return named[0].parent


def make_folder(folder: Path) -> None:
    """Make a folder durably, unless it is there."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with opened(folder.parent) as descriptor:
            os.fsync(descriptor)


def reset_age(path: Path) -> bool:
    """Set the file's time to now; return False if it has been collected meanwhile."""
    try:
        with locked(path.parent, fcntl.LOCK_SH):
            os.utime(path)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def locked(folder: Path, how: int) -> Iterator[int]:
    """Lock the folder: writers share the lock, a collector holds it exclusively.

    A writer holds it until its rename is durable, a collector while it checks a file's time and
    removes the file.
    """
    with opened(folder) as descriptor:
        fcntl.flock(descriptor, how)
        yield descriptor


def is_locked(path: Path) -> bool:
    """Return whether somebody holds the lock of a folder or a file."""
    with opened(path) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
