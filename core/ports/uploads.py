"""Port for resumable uploads."""

from datetime import datetime
from typing import Protocol

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
