"""Deleting old objects of S3 beside writers that may be putting them again.

S3 cannot delete "if not written since", so the two sides meet at a mark, an empty object:

    collector: set mark - read the object's age - delete if old - remove mark
    writer of what is there already: write - wait while there is a mark - look - if gone, write

S3's answers are consistent. A write that ends before the collector reads the age is seen by it.
One that ends after finds either the mark, and waits, or no mark any more; in both cases it looks
after the deletion. Whoever writes what was not there comes after the deletion, which is asked for
once and never repeated; if its answer is lost, the mark stays until the request is surely dead.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from core.adapters.artifacts.s3_client import Clients, S3Place
from core.adapters.artifacts.s3_errors import TAKEN, code_of, named
from core.domain.values import Digest
from core.errors import ArtifactMissing
from core.ports import Moved

MARKS = "collecting/"
DEAD_AFTER_S = 300.0  # a mark's; well over the time in which all tries of one deletion end
LOOK_EVERY_S = 0.2


class Collecting:
    """The collector's and the writer's side, and what both leave behind when they die."""

    def __init__(self, clients: Clients, place: S3Place) -> None:
        self._client = clients.usual
        self._asks_once = clients.asks_once
        self._place = place

    def collect(self, digest: Digest, key: str, older_than_s: float) -> bool:
        """Delete an object that is that old; whether it was deleted."""
        mark = self._mark(digest)
        if not self._set(mark):
            return False  # another collector is at it
        age_s = self._age(key, digest)
        old = age_s is not None and age_s >= older_than_s
        with named():
            if old:
                self._asks_once.delete_object(Bucket=self._place.bucket, Key=key)
            self._client.delete_object(Bucket=self._place.bucket, Key=mark)
        return old

    def wait_for(self, digest: Digest, moved: Moved) -> None:
        """Return once no living collector is at an object."""
        while True:
            age_s = self._age(self._mark(digest), digest)
            if age_s is None or age_s > DEAD_AFTER_S:
                return
            moved(0)
            time.sleep(LOOK_EVERY_S)

    def rows(self, prefix: str) -> Iterator[tuple[dict[str, Any], float]]:
        """Objects below a prefix, with their age in seconds by the store's clock."""
        pages = self._client.get_paginator("list_objects_v2")
        with named():
            for page in pages.paginate(Bucket=self._place.bucket, Prefix=prefix):
                now = _clock_of(page)
                for row in page.get("Contents", ()):
                    yield row, (now - row["LastModified"]).total_seconds()

    def sweep(self, older_than_s: float) -> int:
        """Give up uploads in parts that old, and dead marks; how many."""
        dead = [
            row["Key"]
            for row, age_s in self.rows(self._place.prefix + MARKS)
            if age_s >= max(older_than_s, DEAD_AFTER_S)
        ]
        pages = self._client.get_paginator("list_multipart_uploads")
        swept = 0
        with named():
            for key in dead:
                self._client.delete_object(Bucket=self._place.bucket, Key=key)
            for page in pages.paginate(Bucket=self._place.bucket, Prefix=self._place.prefix):
                now = _clock_of(page)
                for row in page.get("Uploads", ()):
                    if (now - row["Initiated"]).total_seconds() >= older_than_s:
                        self._client.abort_multipart_upload(
                            Bucket=self._place.bucket, Key=row["Key"], UploadId=row["UploadId"]
                        )
                        swept += 1
        return swept + len(dead)

    def _mark(self, digest: Digest) -> str:
        return f"{self._place.prefix}{MARKS}{digest}"

    def _set(self, mark: str) -> bool:
        """Set a mark unless there is one; whether it is ours."""
        from botocore.exceptions import ClientError

        with named():
            try:
                self._client.put_object(
                    Bucket=self._place.bucket, Key=mark, Body=b"", IfNoneMatch="*"
                )
            except ClientError as error:
                if code_of(error) in TAKEN:
                    return False
                raise
        return True

    def _age(self, key: str, digest: Digest) -> float | None:
        """Seconds since an object was written, by the store's clock; None when it is not there."""
        try:
            with named(digest):
                found = self._client.head_object(Bucket=self._place.bucket, Key=key)
        except ArtifactMissing:
            return None
        age_s: float = (_clock_of(found) - found["LastModified"]).total_seconds()
        return age_s


def _clock_of(answer: dict[str, Any]) -> datetime:
    """The store's time, so that no clock of ours decides what is old."""
    told = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(told) if told else datetime.now(UTC)
