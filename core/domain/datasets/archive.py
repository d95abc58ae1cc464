"""Archives of images: their formats, and how much may be unpacked from one."""

from dataclasses import dataclass
from enum import StrEnum

from core.domain.values import counted
from core.errors import ArchiveTooBig, UnsupportedArchive

HEAD_BYTES = 512  # enough to tell the format
MOST_RATIO = 100  # bytes unpacked for each byte of the archive

_GZIP, _TAR, _TAR_AT = b"\x1f\x8b", b"ustar", 257
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
    S3 = "s3"  # a listing of objects in a bucket, which stands for an archive of them


def format_of(head: bytes) -> ArchiveFormat:
    """Return the format of an archive by its first HEAD_BYTES bytes. Raises UnsupportedArchive."""
    if head.startswith(_ZIP):
        return ArchiveFormat.ZIP
    if head.startswith(_GZIP):
        return ArchiveFormat.TAR_GZ
    if _is_tar(head):
        return ArchiveFormat.TAR
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
    bytes: int = 0
    files: int = 0  # with folders, and lines of image lists

    def add_bytes(self, count: int) -> None:
        """Count unpacked bytes. Raises ArchiveTooBig."""
        self.bytes += count
        if self.bytes > self.most_bytes:
            raise ArchiveTooBig(
                f"The archive unpacks to more than {self.most_bytes:,} bytes.", cap=self.most_bytes
            )
        if self.bytes > MOST_RATIO * self.archive_bytes:
            raise ArchiveTooBig(
                f"The archive unpacks to more than {MOST_RATIO} times its size.", ratio=MOST_RATIO
            )

    def add_file(self) -> None:
        """Count a file, a folder or a line of an image list. Raises ArchiveTooBig."""
        self.files += 1
        if self.files > self.most_files:
            raise ArchiveTooBig(
                f"There are more than {counted(self.most_files, 'file')}, counting folders and "
                "lines of image lists: import them in several parts.",
                cap=self.most_files,
            )
