"""The files of a tar, read as a stream by the standard library."""

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from core.domain.datasets.archive import UnpackedCount
from core.domain.datasets.archive_path import shown
from core.errors import ArchiveCorrupt, ArchiveUnsafe
from core.ports import ArchivedFile

PIECE = 64 * 1024  # bytes
MOST_HEADER_BYTES = 64 * 1024  # of a long name or of attributes, which are read whole
_EXTENDED = {
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
}


def tar_files(pieces: Iterator[bytes], count: UnpackedCount) -> Iterator[ArchivedFile]:
    """Yield the files of a tar. Raises ArchiveUnsafe, ArchiveCorrupt or ArchiveTooBig."""
    stream = _Stream(pieces, count)
    with (
        _translated(),
        tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictHeader, errors="replace") as archive,
    ):
        for header in archive:
            count.add_file()
            if not (header.isreg() or header.isdir()):
                raise ArchiveUnsafe(
                    "The archive holds a link, a device or a sparse file.",
                    file=shown([header.name]),
                )
            if header.isreg():
                yield ArchivedFile(path=header.name, pieces=_pieces(archive, header))


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise ArchiveCorrupt from error


def _pieces(archive: tarfile.TarFile, header: tarfile.TarInfo) -> Iterator[bytes]:
    with _translated():
        file = archive.extractfile(header)
        if file is None:
            raise ArchiveCorrupt
        while piece := file.read(PIECE):
            yield piece


class _StrictHeader(tarfile.TarInfo):
    """A header that is refused where the library would stop in silence or read without limit."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> Self:
        """Return the header of a block, or raise what the library takes for the end."""
        is_end = len(buf) == tarfile.BLOCKSIZE and not any(buf)
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if is_end:
                raise
            raise ArchiveCorrupt from error
        if header.type in _EXTENDED and header.size > MOST_HEADER_BYTES:
            raise ArchiveUnsafe("The archive holds a header of unusual size.")
        if header.size < 0:
            raise ArchiveCorrupt
        if header.type == tarfile.GNUTYPE_SPARSE:
            raise ArchiveUnsafe("The archive holds a sparse file.")
        return header

    # Sparse files of the newer formats: their maps are read whole, and their holes are free.

    def _refuse(self, *_: Any) -> None:
        raise ArchiveUnsafe("The archive holds a sparse file.")

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse


class _Stream(io.RawIOBase):
    """Pieces as a file that can only be read."""

    def __init__(self, pieces: Iterator[bytes], count: UnpackedCount) -> None:
        super().__init__()
        self._pieces = pieces
        self._count = count
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next `size` bytes, fewer at the end. Raises ArchiveTooBig."""
        parts, left = [], size
        while left:
            if not self._rest:
                self._rest = next(self._pieces, b"")
                if not self._rest:
                    break
            part, self._rest = self._rest[:left], self._rest[left:]
            parts.append(part)
            left -= len(part)
        data = b"".join(parts)
        self._count.add_bytes(len(data))
        return data
