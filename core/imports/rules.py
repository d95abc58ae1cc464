"""Resumable uploads: files that arrive in parts, over as many requests as it takes."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

from core.errors import BodyTooLarge, OffsetMismatch, TooManyParts, UploadExpired, UploadIncomplete
from core.values import Digest, UploadId

KEPT = timedelta(hours=24)  # after the last part
MOST_PARTS = 1_000
MOST_UPLOADS = 100  # of one principal


@dataclass(frozen=True, kw_only=True)
class ResumableUpload:
    """A file whose parts are stored artifacts."""

    id: UploadId
    owner: str  # the principal that may add to it
    length: int  # bytes of the whole file
    offset: int = 0  # bytes that have arrived
    parts: tuple[Digest, ...] = ()
    created_at: datetime
    expires_at: datetime

    def require_offset(self, offset: int) -> None:
        """Raise OffsetMismatch unless the next part begins where the last one ended."""
        if offset != self.offset:
            raise OffsetMismatch(
                f"The upload has {self.offset:,} bytes: send those that follow.", offset=self.offset
            )

    def require_room(self, count: int) -> None:
        """Raise BodyTooLarge for more bytes than are missing, TooManyParts for too many parts."""
        if self.offset + count > self.length:
            raise BodyTooLarge(f"The upload was announced with {self.length:,} bytes.")
        if count and len(self.parts) >= MOST_PARTS:
            raise TooManyParts(
                f"An upload may have at most {MOST_PARTS:,} parts: send larger ones."
            )

    def require_whole(self) -> None:
        """Raise UploadIncomplete while bytes are missing."""
        if self.offset < self.length:
            raise UploadIncomplete(offset=self.offset, length=self.length)

    def require_live(self, now: datetime) -> None:
        """Raise UploadExpired after its time."""
        if now >= self.expires_at:
            raise UploadExpired(expired_at=self.expires_at.isoformat())

    def extended(self, part: Digest, count: int, now: datetime) -> Self:
        """Return the upload with one more part of `count` bytes."""
        return replace(
            self,
            offset=self.offset + count,
            parts=(*self.parts, part),
            expires_at=now + KEPT,
        )
