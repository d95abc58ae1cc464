"""Deletion of old S3 objects while writers may be storing the same bytes again.

S3 cannot delete an object on condition that nobody has written it since. Collector and writer
therefore coordinate through a mark, an empty object:

    collector: create mark - read the object's age - delete if old - remove mark
    writer of an existing object: write - wait while there is a mark - check - if gone, write

S3's answers are consistent. The collector sees every write that ends before it reads the age. The
writer of a later one finds the mark and waits, or finds that the mark has been removed; in both
cases it checks after the deletion. A writer that found no object comes after the deletion, since
that is requested once and never retried. If the deletion's answer is lost, the mark stays until
the request can no longer take effect.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from core.adapters.artifacts.s3_client import Clients, S3Location
from core.adapters.artifacts.s3_errors import TAKEN, translate_errors
from core.adapters.s3.client import error_code
from core.domain.values import Digest
from core.errors import ArtifactMissing
from core.ports import BytesCallback

MARKS = "collecting/"
DEAD_AFTER_S = 300.0  # age of an abandoned mark; well above the longest time a deletion takes
LOOK_EVERY_S = 0.2


class S3Collector:
    """The collector's and the writer's side, and the cleanup after processes that were killed."""

    def __init__(self, clients: Clients, place: S3Location) -> None:
        self._client = clients.usual
        self._asks_once = clients.asks_once
        self._place = place

    def delete_if_older(self, digest: Digest, key: str, older_than_s: float) -> bool:
        """Delete the object if it is at least that old; return whether it was deleted."""
        mark = self._mark(digest)
        if not self._create(mark):
            return False  # another collector is working on the object
        age_s = self._age(key, digest)
        old = age_s is not None and age_s >= older_than_s
        with translate_errors():
            if old:
                self._asks_once.delete_object(Bucket=self._place.bucket, Key=key)
            self._client.delete_object(Bucket=self._place.bucket, Key=mark)
        return old

    def wait_for(self, digest: Digest, moved: BytesCallback) -> None:
        """Wait until no running collector works on the object, calling `moved(0)` meanwhile."""
        while True:
            age_s = self._age(self._mark(digest), digest)
            if age_s is None or age_s > DEAD_AFTER_S:
                return
            moved(0)
            time.sleep(LOOK_EVERY_S)

    def rows(self, prefix: str) -> Iterator[tuple[dict[str, Any], float]]:
        """Yield the objects below a prefix and their ages in seconds by the store's clock."""
        pages = self._client.get_paginator("list_objects_v2")
        with translate_errors():
            for page in pages.paginate(Bucket=self._place.bucket, Prefix=prefix):
                now = _clock_of(page)
                for row in page.get("Contents", ()):
                    yield row, (now - row["LastModified"]).total_seconds()

    def sweep(self, older_than_s: float) -> int:
        """Abort multipart uploads that old and remove abandoned marks; return how many."""
        abandoned = [
            row["Key"]
            for row, age_s in self.rows(self._place.prefix + MARKS)
            if age_s >= max(older_than_s, DEAD_AFTER_S)
        ]
        pages = self._client.get_paginator("list_multipart_uploads")
        swept = 0
        with translate_errors():
            for key in abandoned:
                self._client.delete_object(Bucket=self._place.bucket, Key=key)
            for page in pages.paginate(Bucket=self._place.bucket, Prefix=self._place.prefix):
                now = _clock_of(page)
                for row in page.get("Uploads", ()):
                    if (now - row["Initiated"]).total_seconds() >= older_than_s:
                        self._client.abort_multipart_upload(
                            Bucket=self._place.bucket, Key=row["Key"], UploadId=row["UploadId"]
                        )
                        swept += 1
        return swept + len(abandoned)

    def _mark(self, digest: Digest) -> str:
        return f"{self._place.prefix}{MARKS}{digest}"

    def _create(self, mark: str) -> bool:
        """Create the mark unless it exists; return whether it was created."""
        from botocore.exceptions import ClientError

        with translate_errors():
            try:
                self._client.put_object(
                    Bucket=self._place.bucket, Key=mark, Body=b"", IfNoneMatch="*"
                )
            except ClientError as error:
                if error_code(error) in TAKEN:
                    return False
                raise
        return True

    def _age(self, key: str, digest: Digest) -> float | None:
        """Return the object's age in seconds by the store's clock, or None if it is missing."""
        try:
            with translate_errors(digest):
                found = self._client.head_object(Bucket=self._place.bucket, Key=key)
        except ArtifactMissing:
            return None
        age_s: float = (_clock_of(found) - found["LastModified"]).total_seconds()
        return age_s


def _clock_of(answer: dict[str, Any]) -> datetime:
    """Return the store's time, so that our own clock does not decide what is old."""
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(date) if date else datetime.now(UTC)
