"""Folders as tar files that are the same whenever the files are."""

import io
import tarfile
from pathlib import Path
from typing import Protocol

from core.domain.values import Digest
from core.ports import Artifacts, ArtifactWriter, BytesCallback

PIECE = 1 << 20  # bytes


class Readable(Protocol):
    """A file that is read from its beginning."""

    def read(self, size: int = -1, /) -> bytes: ...


def store_tar(
    artifacts: Artifacts, folder: Path, name: str, moved: BytesCallback
) -> tuple[Digest, int]:
    """Store a tar of the folder's files below `name`; return its digest and size in bytes.

    Files come in the order of their names, without times and owners. Raises StorageFull, or
    ArtifactsUnavailable.
    """
    with artifacts.writer() as writer:
        out = _Pieces(writer, moved)
        with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, bufsize=PIECE) as tar:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                inside = path.relative_to(folder).as_posix()
                with path.open("rb") as file:
                    add_file(tar, f"{name}/{inside}", file, path.stat().st_size)
        return writer.commit(moved), out.size


def add_file(tar: tarfile.TarFile, name: str, source: Readable, size: int) -> None:
    """Add a file of so many bytes to a tar, without times and owners."""
    entry = tarfile.TarInfo(name)
    entry.size = size
    entry.mode = 0o644
    tar.addfile(entry, source)


class _Pieces(io.RawIOBase):
    """A file whose bytes go to an artifact's writer."""

    def __init__(self, writer: ArtifactWriter, moved: BytesCallback) -> None:
        super().__init__()
        self.size = 0
        self._writer = writer
        self._moved = moved

    def writable(self) -> bool:
        return True

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        piece = bytes(data)
        self._writer.write(piece)
        self.size += len(piece)
        self._moved(len(piece))
        return len(piece)
