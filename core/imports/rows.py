"""Rows of resumable uploads."""

from collections.abc import Mapping
from datetime import datetime
from typing import Self

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from core.artifacts.store import ArtifactKind
from core.database.tables import jobs, uploads
from core.database.work import Rows, Work
from core.errors import OffsetMismatch, UploadNotFound
from core.imports.rules import ResumableUpload
from core.jobs.orders import JobType
from core.values import Digest, JobId, UploadId

_REPORT = jobs.c.result["report"].as_string()
_IMPORTED = jobs.c.type == JobType.IMPORT_IMAGES


class FileReports(Rows):
    """The reports of imports of images, by job."""

    def all(self) -> Mapping[JobId, Digest]:
        """Return all reports."""
        query = select(jobs.c.id, _REPORT).where(_IMPORTED, _REPORT.is_not(None))
        return {job: Digest(report) for job, report in self._connection.execute(query)}

    def replace(self, job: JobId, report: Digest) -> None:
        """Put another report in the place of a job's."""
        theirs = jobs.c.id == job
        result = self._connection.scalar(select(jobs.c.result).where(theirs))
        changed = {**(result or {}), "report": report}
        self._connection.execute(update(jobs).where(theirs).values(result=changed))


class Uploads(Rows):
    """Rows of resumable uploads, of one owner."""

    @classmethod
    def open(cls, work: Work) -> Self:
        """Return the rows in a transaction."""
        return cls(work.connection, work.principal.name)

    def __init__(self, connection: Connection, owner: str) -> None:
        self._connection = connection
        self._owner = owner

    def add(self, upload: ResumableUpload) -> None:
        """Store an upload."""
        values = {**vars(upload), "parts": list(upload.parts)}
        self._connection.execute(insert(uploads).values(values))

    def get(self, upload: UploadId) -> ResumableUpload:
        """Return an upload. Raises UploadNotFound."""
        row = self._connection.execute(select(uploads).where(self._is(upload))).first()
        if row is None:
            raise UploadNotFound(upload=upload)
        return ResumableUpload(**{**row._mapping, "parts": tuple(row.parts)})

    def count(self) -> int:
        """Return how many uploads the owner has."""
        query = select(func.count()).where(uploads.c.owner == self._owner)
        return int(self._connection.scalar(query) or 0)

    def extend(self, upload: ResumableUpload, seen: int) -> None:
        """Write an upload with a new part, if its offset is still `seen`.

        Raises OffsetMismatch or UploadNotFound.
        """
        written = self._connection.execute(
            update(uploads)
            .where(self._is(upload.id), uploads.c.offset == seen)
            .values(offset=upload.offset, parts=list(upload.parts), expires_at=upload.expires_at)
        )
        if written.rowcount == 0:
            raise OffsetMismatch(offset=self.get(upload.id).offset)

    def remove(self, upload: UploadId) -> None:
        """Remove an upload. Raises UploadNotFound."""
        if self._connection.execute(delete(uploads).where(self._is(upload))).rowcount == 0:
            raise UploadNotFound(upload=upload)

    def forget(self, before: datetime) -> int:
        """Remove the uploads of all owners that expired before a time; return how many."""
        old = delete(uploads).where(uploads.c.expires_at < before)
        return self._connection.execute(old).rowcount

    def _is(self, upload: UploadId) -> ColumnElement[bool]:
        return (uploads.c.id == upload) & (uploads.c.owner == self._owner)


def artifacts_of_uploads(connection: Connection, kind: ArtifactKind) -> set[Digest]:
    """Return the artifacts of a kind that uploads name: their parts."""
    if kind is not ArtifactKind.ARCHIVE:
        return set()
    sent = connection.scalars(select(uploads.c.parts))
    return {Digest(part) for of_one in sent for part in of_one}
