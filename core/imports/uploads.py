"""Resumable uploads: create, continue and delete them, and use a whole one."""

from collections.abc import Iterator

from core import errors
from core.imports.rows import Uploads
from core.imports.rules import KEPT, MOST_UPLOADS, ResumableUpload
from core.platform import Platform
from core.values import Digest, UploadId, new_id


def create_upload(platform: Platform, *, length: int) -> ResumableUpload:
    """Announce a file of `length` bytes. Raises BodyTooLarge or TooManyUploads."""
    most = platform.settings.max_upload_bytes
    if length > most:
        raise errors.BodyTooLarge(f"An upload may have at most {most:,} bytes.", cap=most)
    now = platform.clock()
    with platform.transactions() as work:
        if work[Uploads].count() >= MOST_UPLOADS:
            raise errors.TooManyUploads
        upload = ResumableUpload(
            id=UploadId(new_id("up", now)),
            owner=work.principal.name,
            length=length,
            created_at=now,
            expires_at=now + KEPT,
        )
        work[Uploads].add(upload)
        work.commit()
    return upload


def find_upload(platform: Platform, upload: UploadId) -> ResumableUpload:
    """Return an upload of the caller. Raises UploadNotFound or UploadExpired."""
    with platform.transactions(read_only=True) as work:
        found = work[Uploads].get(upload)
    found.require_live(platform.clock())
    return found


def extend_upload(
    platform: Platform, seen: ResumableUpload, part: Digest, count: int
) -> ResumableUpload:
    """Add a stored part of `count` bytes to an upload, as it was seen before they arrived.

    Raises OffsetMismatch if another request was faster, and UploadNotFound.
    """
    extended = seen.extended(part, count, platform.clock())
    with platform.transactions() as work:
        work[Uploads].extend(extended, seen.offset)
        work.commit()
    return extended


def delete_upload(platform: Platform, upload: UploadId) -> None:
    """Delete an upload; its bytes are collected later. Raises UploadNotFound."""
    with platform.transactions() as work:
        work[Uploads].remove(upload)
        work.commit()


def upload_pieces(platform: Platform, upload: UploadId) -> Iterator[bytes]:
    """Yield the bytes of a whole upload. Raises what `join_parts` raises."""
    found = find_upload(platform, upload)
    found.require_whole()
    for part in found.parts:
        yield from platform.artifacts.pieces(part)


def join_parts(platform: Platform, upload: UploadId) -> tuple[Digest, int, bytes]:
    """Store the parts of a whole upload as one artifact; return digest, size and first bytes.

    It is stored again each time, so that no collection takes it for an old one. Raises
    UploadNotFound, UploadExpired or UploadIncomplete.
    """
    found = find_upload(platform, upload)
    found.require_whole()
    head = b""
    try:
        with platform.artifacts.writer() as writer:
            for part in found.parts:
                for piece in platform.artifacts.pieces(part):
                    head = head or piece
                    writer.write(piece)
            return writer.commit(), found.length, head
    except (errors.ArtifactMissing, errors.ArtifactCorrupt) as error:
        raise errors.UploadExpired("A part of the upload is lost: send it again.") from error
