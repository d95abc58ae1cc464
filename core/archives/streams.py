"""Reads untrusted tar and zip archives as streams."""

import io
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self

from stream_unzip import (
    MissingPasswordError,
    UnsupportedFeatureError,
    UnsupportedFlagsError,
    UnzipError,
    stream_unzip,
)

from core.archives.rules import ArchivedFile, UnpackedCount, path_of, shown
from core.errors import ArchiveCorrupt, ArchiveUnsafe, PerennialError

# Decompression of gzip, a piece at a time.

PIECE = 64 * 1024  # bytes, of what is decompressed at once
_STEP = 16 * 1024  # bytes in; of them, each end of a joined file copies the rest
_GZIP = 16 + zlib.MAX_WBITS


def gunzip(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what pieces of gzip decompress to, at most PIECE at once. Raises ArchiveCorrupt."""
    stream = zlib.decompressobj(_GZIP)
    steps = (piece[at : at + _STEP] for piece in pieces for at in range(0, len(piece), _STEP))
    for step in steps:
        rest = step
        while rest:
            if stream.eof:  # gzip files may be joined
                stream = zlib.decompressobj(_GZIP)
            try:
                out = stream.decompress(rest, PIECE)
            except zlib.error as error:
                raise ArchiveCorrupt from error
            rest = stream.unused_data if stream.eof else stream.unconsumed_tail
            if out:
                yield out
    if not stream.eof:
        raise ArchiveCorrupt


# The files of a tar, read as a stream: a header, what it announces, the next header.
#
# Formats: Unix version 7, ustar and pax (POSIX.1-2008, pax, "EXTENDED DESCRIPTION"), GNU ("Basic
# Tar Format" in its manual). A tar ends at a block of zeros and nowhere else: what is damaged or
# missing in front of it must not look like the end, or an archive would be imported in part.

MOST_HEADER_BYTES = 64 * 1024  # of a long name or of attributes, which are read whole
MOST_EXTENDED = 100  # headers in front of a file's own

_BLOCK = 512  # bytes
_REGULAR, _DIRECTORY = (b"0", b"\0", b"7"), b"5"
_LONG_NAME, _LONG_LINK, _ATTRIBUTES, _SHARED = b"L", b"K", (b"x", b"X"), b"g"
_EXTENDED = (_LONG_NAME, _LONG_LINK, *_ATTRIBUTES, _SHARED)
_NAME, _SIZE, _CHECKSUM, _KIND = slice(0, 100), slice(124, 136), slice(148, 156), slice(156, 157)
_PREFIX = slice(345, 500)
# Mode, owner, group, time and device, which are of no use here but tell of damage.
_OTHERS = ((100, 108), (108, 116), (116, 124), (136, 148), (329, 337), (337, 345))
_OCTAL = re.compile(rb"\s*([0-7]*)\s*")
_POSITIVE, _NEGATIVE = 0o200, 0o377  # first bytes of numbers with base 256
_RECORD = re.compile(rb"(\d{1,9}) ([^=]+)=")
_LENGTH = re.compile(rb"\d{1,20}")


def tar_files(
    pieces: Iterator[bytes], count: UnpackedCount, *, is_counted: bool = False
) -> Iterator[ArchivedFile]:
    """Yield the files of a tar, whose bytes may be counted already.

    Raises ArchiveUnsafe, ArchiveCorrupt or ArchiveTooBig.
    """
    stream = Stream(pieces if is_counted else count.counted(pieces), ArchiveCorrupt())
    headers = _Headers(stream)
    while (header := headers.next()) is not None:
        count.add_file()
        name = header.name.decode(errors="replace")
        if header.kind not in (*_REGULAR, _DIRECTORY):
            raise ArchiveUnsafe(
                "The archive holds a link, a device or a sparse file.", file=shown([name])
            )
        path = path_of(name)
        if header.kind in _REGULAR:
            contents = stream.contents(header.size)
            yield ArchivedFile(path=path, pieces=contents)
            for _ in contents:
                pass
            stream.read(-header.size % _BLOCK)  # what fills the last block


@dataclass(frozen=True, kw_only=True)
class _Header:
    """The header of a file, or of an extended header."""

    kind: bytes
    name: bytes
    size: int  # bytes; a directory's are not there

    @classmethod
    def of(cls, block: bytes) -> Self:
        """Return the header that a block holds. Raises ArchiveCorrupt or ArchiveUnsafe."""
        summed = block[: _CHECKSUM.start] + b" " * 8 + block[_CHECKSUM.stop :]
        signed = memoryview(summed).cast("b")  # as Sun and NeXT took bytes to be
        if _number(block[_CHECKSUM]) not in {sum(summed), sum(signed)}:
            raise ArchiveCorrupt
        for start, stop in _OTHERS:
            _number(block[start:stop])
        kind, name, size = block[_KIND], _text(block[_NAME]), _number(block[_SIZE])
        if kind in _EXTENDED and size > MOST_HEADER_BYTES:
            raise ArchiveUnsafe("The archive holds a header of unusual size.")
        if size < 0:
            raise ArchiveCorrupt
        if kind == b"\0" and name.endswith(b"/"):  # in version 7
            kind = _DIRECTORY
        prefix = _text(block[_PREFIX])
        return cls(kind=kind, name=prefix + b"/" + name if prefix else name, size=size)


class _Headers:
    """The headers of files, as the extended headers in front of them change them."""

    def __init__(self, stream: "Stream") -> None:
        self._stream = stream
        self._shared: dict[bytes, bytes] = {}  # attributes of all files that follow
        self._kept = 0  # bytes of these

    def next(self) -> _Header | None:
        """Return the next file's header, or None at the end.

        Of several extended headers with a name or a size for it, the first counts. Raises
        ArchiveCorrupt or ArchiveUnsafe.
        """
        own: dict[bytes, bytes] = {}
        for extended in range(MOST_EXTENDED + 1):
            block = self._stream.read(_BLOCK)
            if not any(block):
                if extended:
                    raise ArchiveCorrupt
                return None
            header = _Header.of(block)
            if header.kind not in _EXTENDED:
                name = own.get(b"path", self._shared.get(b"path", header.name))
                return replace(header, name=name, size=int(own.get(b"size", header.size)))
            data = self._stream.read(header.size)
            self._stream.read(-header.size % _BLOCK)
            if header.kind == _LONG_NAME:
                own.setdefault(b"path", _text(data))
            elif header.kind in _ATTRIBUTES:
                found = _attributes(data)
                own = {name: found[name] for name in (b"path", b"size") if name in found} | own
            elif header.kind == _SHARED:
                self._share(_attributes(data))
        raise ArchiveCorrupt

    def _share(self, found: dict[bytes, bytes]) -> None:
        """Keep attributes for all files that follow. Raises ArchiveUnsafe or ArchiveCorrupt."""
        if b"size" in found:  # which programs do not agree on
            raise ArchiveCorrupt
        for name, value in found.items():
            replaced = self._shared.get(name)
            self._kept += len(value) + (len(name) if replaced is None else -len(replaced))
            self._shared[name] = value
        if self._kept > MOST_HEADER_BYTES:
            raise ArchiveUnsafe("The archive holds headers of unusual size.")


def _attributes(data: bytes) -> dict[bytes, bytes]:
    r"""Return attributes, each of which is written as `<length of all this> <name>=<value>\n`.

    Raises ArchiveCorrupt, and ArchiveUnsafe for those of a sparse file.
    """
    data, start = data.rstrip(b"\0"), 0
    found: dict[bytes, bytes] = {}
    while start < len(data):
        match = _RECORD.match(data, start)
        if match is None:
            raise ArchiveCorrupt
        end = start + int(match[1])
        value = data[match.end() : end]
        if end > len(data) or not value.endswith(b"\n"):
            raise ArchiveCorrupt
        found[match[2]] = value[:-1]
        start = end
    if any(name.startswith(b"GNU.sparse.") for name in found):
        raise ArchiveUnsafe("The archive holds a sparse file.")
    if not _LENGTH.fullmatch(found.get(b"size", b"0")):
        raise ArchiveCorrupt
    return found


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """Return a number in octal digits or, behind a byte that says so, with base 256.

    Raises ArchiveCorrupt.
    """
    if field[0] in (_POSITIVE, _NEGATIVE):
        rest = int.from_bytes(field[1:])
        return rest if field[0] == _POSITIVE else rest - 256 ** (len(field) - 1)
    match = _OCTAL.fullmatch(_text(field))
    if match is None:
        raise ArchiveCorrupt
    return int(match[1] or b"0", 8)


class Stream:
    """Pieces, from which as many bytes are read as are wanted."""

    def __init__(self, pieces: Iterator[bytes], lacking: PerennialError) -> None:
        """Read from pieces; `lacking` is raised if they end too early."""
        self.rest = memoryview(b"")  # of the last piece
        self._pieces = pieces
        self._lacking = lacking

    def contents(self, size: int) -> Iterator[bytes]:
        """Yield the next `size` bytes in pieces; may be left before the last and gone on with."""
        while size:
            while not self.rest:
                piece = next(self._pieces, None)
                if piece is None:
                    raise self._lacking
                self.rest = memoryview(piece)
            taken, self.rest = self.rest[:size], self.rest[size:]
            size -= len(taken)
            yield bytes(taken)

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        return b"".join(self.contents(size))


# The files of a zip, read as a stream.

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
            written = _decoded_name(name)
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
        yield from count.counted(pieces)


def _decoded_name(name: bytes) -> str:
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
