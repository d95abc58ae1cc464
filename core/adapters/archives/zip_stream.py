"""The files of a zip, read as a stream."""

import io
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

from stream_unzip import (
    MissingPasswordError,
    UnsupportedFeatureError,
    UnsupportedFlagsError,
    UnzipError,
    stream_unzip,
)

from core.domain.datasets.archive import UnpackedCount
from core.domain.datasets.archive_path import shown
from core.errors import ArchiveCorrupt, ArchiveUnsafe
from core.ports import ArchivedFile

# The directory of a zip is at its end; 10,000 entries with names of 200 characters take 3 MB.
MOST_DIRECTORY_BYTES = 16 * 1024 * 1024
_UNIX_MODE = 16  # bits to the left in an entry's attributes


def zip_files(pieces: Iterator[bytes], count: UnpackedCount) -> Iterator[ArchivedFile]:
    """Yield the files of a zip. Raises ArchiveUnsafe, ArchiveCorrupt or ArchiveTooBig.

    Links and entries that are encrypted may only be told by the directory, which is read last.
    """
    end = _End(pieces)
    with _translated():
        for name, _, unzipped in stream_unzip(end):
            count.add_file()
            counted = _counted(unzipped, count)
            path = _text(name)
            if not path.endswith(("/", "\\")):
                yield ArchivedFile(path=path, pieces=counted)
            for _ in counted:
                pass
    _check_directory(end.bytes)


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


def _check_directory(end: bytes) -> None:
    """Raise ArchiveCorrupt if the directory is not whole, ArchiveUnsafe if it has a link."""
    try:
        with zipfile.ZipFile(io.BytesIO(end)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise ArchiveCorrupt from error
    for entry in entries:
        if stat.S_ISLNK(entry.external_attr >> _UNIX_MODE):
            raise ArchiveUnsafe("The archive holds a link.", file=shown([entry.filename]))


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
