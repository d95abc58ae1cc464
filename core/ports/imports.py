"""Ports for imports: resumable uploads, archives that are read as they come, and buckets."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.domain.datasets.archive import ArchiveFormat, UnpackedCount
from core.domain.datasets.archive_path import Path
from core.domain.datasets.bucket import BucketFolder, BucketObject
from core.domain.datasets.resumable_upload import ResumableUpload
from core.domain.values import UploadId


class Uploads(Protocol):
    """The uploads of the transaction's principal; those of others are not there."""

    def add(self, upload: ResumableUpload) -> None: ...

    def get(self, upload: UploadId) -> ResumableUpload:
        """Return an upload. Raises UploadNotFound."""

    def count(self) -> int:
        """Return how many uploads the principal has."""

    def extend(self, upload: ResumableUpload, seen: int) -> None:
        """Write an upload with a new part, if its offset is still `seen`.

        Raises OffsetMismatch otherwise, and UploadNotFound.
        """

    def remove(self, upload: UploadId) -> None:
        """Remove an upload. Raises UploadNotFound."""

    def forget(self, before: datetime) -> int:
        """Remove the uploads of all principals that expired before a time; return how many."""


@dataclass(frozen=True, kw_only=True)
class ArchivedFile:
    """A file in an archive; its bytes can be read once, before the next file is asked for."""

    path: Path
    pieces: Iterator[bytes]


class ArchiveReader(Protocol):
    def files(
        self, archive_format: ArchiveFormat, pieces: Iterator[bytes], count: UnpackedCount
    ) -> Iterator[ArchivedFile]:
        """Yield the files of an archive that comes in pieces, all of which are read.

        What is not read of a file is skipped. Nothing is written to a disk. Raises ArchiveUnsafe,
        ArchiveCorrupt, ArchiveTooBig and what `pieces` raises.
        """


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
