"""The files of a zip, read as a stream."""

import io
import stat
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from stream_unzip import (
    MissingPasswordError,
    UnsupportedFeatureError,
    UnsupportedFlagsError,
    UnzipError,
    stream_unzip,
)

from core.domain.datasets.archive import UnpackedCount
from core.domain.datasets.archive_path import path_of, shown
from core.errors import ArchiveCorrupt, ArchiveUnsafe
from core.ports import ArchivedFile

# The directory of a zip is at its end; 10,000 entries with names of 200 characters take 3 MB.
MOST_DIRECTORY_BYTES = 16 * 1024 * 1024
_UNIX_MODE = 16  # bits to the left in an entry's attributes
_UTF_8 = 0x800  # flag of an entry whose name is not in the older encoding


def zip_files(pieces: Iterator[bytes], count: UnpackedCount) -> Iterator[ArchivedFile]:
    """Yield the files of a zip. Raises ArchiveUnsafe, ArchiveCorrupt or ArchiveTooBig.

    Links and entries that are encrypted may only be told by the directory, which is read last.
    """
    end, names = _End(pieces), []
    with _translated():
        for name, _, unzipped in stream_unzip(end):
            count.add_file()
            counted = _counted(unzipped, count)
            written = _text(name)
            path = path_of(written)
            names.append(name)
            if not written.endswith(("/", "\\")):
                yield ArchivedFile(path=path, pieces=counted)
            for _ in counted:
                pass
    _check_directory(end.bytes, names)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (MissingPasswordError, UnsupportedFlagsError) as error:
        raise ArchiveUnsafe("The archive holds an encrypted file.") from error
    except UnsupportedFeatureError as error:
        raise ArchiveCorrupt(
            "The zip cannot be read from its beginning to its end: pack it again, with the usual "
            "compression."
        ) from error
    except (UnzipError, ValueError) as error:
        raise ArchiveCorrupt from error


def _counted(pieces: Iterator[bytes], count: UnpackedCount) -> Iterator[bytes]:
    with _translated():
        for piece in pieces:
            count.add_bytes(len(piece))
            yield piece


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("cp437")  # which the format falls back to


def _check_directory(end: bytes, names: Sequence[bytes]) -> None:
    """Raise ArchiveCorrupt if the directory is not whole, ArchiveUnsafe if it has a link.

    Other programs read the files that the directory names, which must be those that were read.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(end)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise ArchiveCorrupt from error
    if sorted(map(_name_of, entries)) != sorted(names):
        raise ArchiveCorrupt("The zip holds other files than its directory lists: pack it again.")
    for entry in entries:
        if stat.S_ISLNK(entry.external_attr >> _UNIX_MODE):
            raise ArchiveUnsafe("The archive holds a link.", file=shown([entry.filename]))


def _name_of(entry: zipfile.ZipInfo) -> bytes:
    """Return an entry's name as it is in the directory."""
    return entry.orig_filename.encode("utf-8" if entry.flag_bits & _UTF_8 else "cp437")


class _End:
    """Pieces, of which the last MOST_DIRECTORY_BYTES are kept."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._kept = bytearray()

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self._kept += piece
            if len(self._kept) > 2 * MOST_DIRECTORY_BYTES:
                del self._kept[:-MOST_DIRECTORY_BYTES]
            yield piece

    @property
    def bytes(self) -> bytes:
        """The last bytes."""
        return bytes(self._kept[-MOST_DIRECTORY_BYTES:])
