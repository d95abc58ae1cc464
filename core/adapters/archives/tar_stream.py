"""The files of a tar, read as a stream by the standard library."""

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from core.domain.datasets.archive import UnpackedCount
from core.domain.datasets.archive_path import path_of, shown
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
        while (header := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # or it keeps every header
            _check_attributes(archive)
            count.add_file()
            if not (header.isreg() or header.isdir()):
                raise ArchiveUnsafe(
                    "The archive holds a link, a device or a sparse file.",
                    file=shown([header.name]),
                )
            path = path_of(header.name)
            if header.isreg():
                yield ArchivedFile(path=path, pieces=_pieces(archive, header))


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, ValueError, EOFError, RecursionError) as error:
        raise ArchiveCorrupt from error  # the last for headers of headers of headers


def _check_attributes(archive: tarfile.TarFile) -> None:
    """Raise ArchiveUnsafe if attributes that hold for all files have become too many to keep."""
    kept = sum(len(name) + len(value) for name, value in archive.pax_headers.items())
    if kept > MOST_HEADER_BYTES:
        raise ArchiveUnsafe("The archive holds headers of unusual size.")


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
        self._ended = False

    def read(self, size: int = -1, /) -> bytes:
        """Return the next `size` bytes, fewer at the end, and nothing once.

        Raises ArchiveTooBig, and EOFError where the library would go on to skip what is not there.
        """
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
        if not data:
            if self._ended:
                raise EOFError
            self._ended = True
        self._count.add_bytes(len(data))
        return data
