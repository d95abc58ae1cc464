"""Archives and buckets of images: formats, limits, and what the path of a file says."""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol, Self

from core.errors import ArchiveTooBig, ArchiveUnsafe, FieldInvalid, UnsupportedArchive
from core.values import counted, json_lines

# Formats of archives, and how much may be unpacked from one.

HEAD_BYTES = 512  # enough to tell the format
MOST_RATIO = 100  # bytes unpacked for each byte of the archive

_GZIP, _TAR, _TAR_AT = b"\x1f\x8b", b"ustar", 257
_PARQUET = (b"PAR1", b"PARE")  # the second with an encrypted description of itself
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
# zip, gzip, bzip2, xz, 7z, rar, zstd: what is inside an archive is not unpacked.
_ARCHIVES = (
    *_ZIP,
    _GZIP,
    b"BZh",
    b"\xfd7zXZ\0",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!",
    b"\x28\xb5\x2f\xfd",
)


class ArchiveFormat(StrEnum):
    """The format of an archive."""

    ZIP = "zip"
    TAR = "tar"
    TAR_GZ = "tar.gz"
    PARQUET = "parquet"  # one file, whose rows are images
    S3 = "s3"  # a listing of objects in a bucket, which stands for an archive of them


def format_of(head: bytes) -> ArchiveFormat:
    """Return the format of an archive by its first HEAD_BYTES bytes. Raises UnsupportedArchive."""
    if head.startswith(_ZIP):
        return ArchiveFormat.ZIP
    if head.startswith(_GZIP):
        return ArchiveFormat.TAR_GZ
    if _is_tar(head):
        return ArchiveFormat.TAR
    if head.startswith(_PARQUET):
        return ArchiveFormat.PARQUET
    raise UnsupportedArchive


def is_archive(head: bytes) -> bool:
    """Return whether a file that begins so is an archive, or compressed."""
    return head.startswith(_ARCHIVES) or _is_tar(head)


def _is_tar(head: bytes) -> bool:
    return head[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR


@dataclass(kw_only=True)
class UnpackedCount:
    """Counts what comes out of an archive, as it comes, and refuses too much of it."""

    archive_bytes: int
    most_bytes: int
    most_files: int
    unpacked_bytes: int = 0
    files: int = 0  # with folders, and lines of image lists

    def add_bytes(self, count: int) -> None:
        """Count unpacked bytes. Raises ArchiveTooBig."""
        self.unpacked_bytes += count
        if self.unpacked_bytes > self.most_bytes:
            raise ArchiveTooBig(
                f"The archive unpacks to more than {self.most_bytes:,} bytes.", cap=self.most_bytes
            )
        if self.unpacked_bytes > MOST_RATIO * self.archive_bytes:
            raise ArchiveTooBig(
                f"The archive unpacks to more than {MOST_RATIO} times its size.", ratio=MOST_RATIO
            )

    def expect(self, files: int, size: int) -> None:
        """Raise ArchiveTooBig if so much more would be too much."""
        replace(self, files=self.files + max(0, files - 1)).add_file()
        replace(self).add_bytes(size)

    def counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield unpacked pieces, which are counted. Raises ArchiveTooBig."""
        for piece in pieces:
            self.add_bytes(len(piece))
            yield piece

    def add_file(self) -> None:
        """Count a file, a folder or a line of an image list. Raises ArchiveTooBig."""
        self.files += 1
        if self.files > self.most_files:
            raise ArchiveTooBig(
                f"There are more than {counted(self.most_files, 'file')}, counting folders and "
                "lines of image lists: import them in several parts.",
                cap=self.most_files,
            )


# Paths of files in archives: they name files and classes, and never a place on a disk.

Path = tuple[str, ...]  # the folders and, last, the file

_DRIVE = re.compile(r"[A-Za-z]:")
_SYSTEM = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
_SHOWN = 300  # characters
MOST_CHARACTERS = 1_000  # of a path; all paths of an archive are kept until its files are named
_LISTS = (".csv", ".jsonl")
TABLE, SHARD = ".parquet", ".tar"


def path_of(written: str) -> Path:
    """Return a path as its parts, in Unicode's form NFC, since macOS writes accents in another.

    Raises ArchiveUnsafe for one that leads out of the archive or is too long.
    """
    if len(written) > MOST_CHARACTERS:
        raise ArchiveUnsafe(
            f"A file has a path of more than {MOST_CHARACTERS:,} characters.",
            file=shown([written]),
        )
    parts = re.split(r"[/\\]", unicodedata.normalize("NFC", written))
    if parts[0] == "" or ".." in parts or _DRIVE.match(written):
        raise ArchiveUnsafe(
            "A file has a path that leads out of what is imported.", file=shown([written])
        )
    return tuple(part for part in parts if part not in {"", "."})


def shown(path: Path | list[str]) -> str:
    """Return a path as text for people: without unprintable characters, and cut."""
    return "".join(letter for letter in "/".join(path) if letter.isprintable())[:_SHOWN]


def is_ignored(path: Path) -> bool:
    """Return whether a file is hidden, or one that systems put beside others."""
    return not path or any(part.startswith(".") or part in _SYSTEM for part in path)


def is_list(path: Path) -> bool:
    """Return whether a file is an image list, by the end of its name."""
    return path[-1].lower().endswith(_LISTS)


def is_shard(path: Path) -> bool:
    """Return whether a file is a tar whose files are imported with others, by its name's end."""
    return path[-1].lower().endswith(SHARD)


def is_table(path: Path) -> bool:
    """Return whether a file is a Parquet file, by the end of its name."""
    return path[-1].lower().endswith(TABLE)


def folder_of(path: Path) -> str | None:
    """Return the name of the folder that holds a file, or None at the top of an archive."""
    return path[-2] if len(path) > 1 and not is_shard(path[:-1]) else None


# Buckets: objects, named by key and ETag, are imported like files of an archive.

SCHEME = "s3://"
MOST_KEY_BYTES = 1024  # of a key, and so of a prefix
_ODD = {"Cc", "Cs"}  # Unicode categories: control characters and halves of characters


@dataclass(frozen=True, kw_only=True)
class BucketFolder:
    """A bucket and a prefix: the part of each key that says where the objects lie."""

    bucket: str
    prefix: str = ""  # "": the whole bucket; otherwise it ends in "/"

    @classmethod
    def of(cls, address: str) -> Self:
        """Parse `s3://bucket/prefix`. Raises FieldInvalid."""
        bucket, _, prefix = address.removeprefix(SCHEME).partition("/")
        if prefix and not prefix.endswith("/"):
            prefix += "/"
        odd = any(unicodedata.category(letter) in _ODD for letter in address)
        if odd or not (address.startswith(SCHEME) and bucket):
            raise FieldInvalid(
                "Name a bucket and a prefix, as in s3://bucket/prefix.", pointer="#query/s3"
            )
        if len(prefix.encode()) > MOST_KEY_BYTES:
            raise FieldInvalid(
                f"A prefix has at most {MOST_KEY_BYTES:,} bytes.", pointer="#query/s3"
            )
        return cls(bucket=bucket, prefix=prefix)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}"

    def path(self, key: str) -> Path:
        """Return the path of an object below the prefix. Raises ArchiveUnsafe."""
        return path_of(key.removeprefix(self.prefix))

    def is_file(self, key: str) -> bool:
        """Return whether an object is to be imported: no folder's mark, and not hidden.

        Raises ArchiveUnsafe for a path that leads out of the prefix or is too long.
        """
        return not key.endswith("/") and not is_ignored(self.path(key))


@dataclass(frozen=True, kw_only=True)
class BucketObject:
    """An object as it was when it was listed."""

    key: str
    etag: str  # which is another one whenever its bytes are replaced
    size: int  # bytes


@dataclass(frozen=True, kw_only=True)
class BucketListing:
    """The objects below a prefix of a bucket, and the only ones that an import of it reads."""

    folder: BucketFolder
    objects: Sequence[BucketObject]

    @property
    def size(self) -> int:
        """The bytes of all objects."""
        return sum(found.size for found in self.objects)

    def to_bytes(self) -> bytes:
        """Return the listing in JSON Lines: the folder, and then the objects in their order."""
        return json_lines(vars(row) for row in (self.folder, *self.objects))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the listing that `to_bytes` wrote."""
        first, *rows = map(json.loads, data.splitlines())
        return cls(folder=BucketFolder(**first), objects=[BucketObject(**row) for row in rows])


# What is read of archives and buckets.


@dataclass(frozen=True, kw_only=True)
class ArchivedFile:
    """A file in an archive; its bytes can be read once, before the next file is asked for."""

    path: Path
    pieces: Iterator[bytes]


class Buckets(Protocol):
    """The buckets that the operator has named, and no others."""

    def objects(self, folder: BucketFolder) -> Iterator[BucketObject]:
        """Yield the objects below a prefix, in the order of their keys.

        Raises BucketNotAllowed before any request, or BucketUnavailable.
        """

    def pieces(self, bucket: str, listed: BucketObject) -> Iterator[bytes]:
        """Yield the bytes of an object in pieces; goes on where a connection broke.

        Raises BucketNotAllowed before any request, ObjectChanged before the first piece if the
        object has another ETag now or is gone, and BucketUnavailable.
        """
