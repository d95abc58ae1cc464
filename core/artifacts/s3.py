"""The artifact store on S3: `prefix/ab/cdef...` holds the bytes whose SHA-256 is `abcdef...`.

S3 shows an object whole or not at all, so that a name never refers to a partial one. Each upload
carries the SHA-256 of its bytes, and the store refuses bytes that do not match; reads are verified
here.
"""

import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from core.artifacts.checks import free_bytes_at, hash_pieces, joined, pieces, verified
from core.artifacts.s3_requests import (
    FIRST_REGION,
    MISSING,
    Clients,
    S3Collector,
    S3Location,
    error_code,
    object_pieces,
    translate_errors,
)
from core.artifacts.s3_transfers import IN_MEMORY_BYTES, SpoolBatch, SpoolWriter, send
from core.artifacts.store import BytesCallback, StoredArtifact, ignore_bytes
from core.errors import ArtifactMissing, raising_storage_full
from core.values import Digest

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST_COPIED = 5 << 30  # bytes that S3 copies in one request


class S3Artifacts:
    """The artifacts in a bucket; connects at first use. Pickles as its place."""

    def __init__(self, place: S3Location) -> None:
        self._place = place
        self._connected: Clients | None = None
        self._one_connects = threading.Lock()

    def __reduce__(self) -> tuple[type["S3Artifacts"], tuple[S3Location]]:
        return S3Artifacts, (self._place,)

    def __repr__(self) -> str:
        return f"S3Artifacts(s3://{self._place.bucket}/{self._place.prefix})"

    def make_bucket(self) -> bool:
        """Create the bucket if it is missing; return whether it was created.

        Raises ArtifactsUnavailable.
        """
        from botocore.exceptions import ClientError

        with translate_errors():
            try:
                self._client.head_bucket(Bucket=self._place.bucket)
            except ClientError as error:
                if error_code(error) not in MISSING:
                    raise
            else:
                return False
            region = self._client.meta.region_name
            # AWS accepts the name of every region but its first.
            where = {"CreateBucketConfiguration": {"LocationConstraint": region}}
            self._client.create_bucket(
                Bucket=self._place.bucket, **({} if region == FIRST_REGION else where)
            )
        return True

    def close(self) -> None:
        """Close the pooled connections."""
        with self._one_connects:
            for client in self._connected or ():
                client.close()
            self._connected = None

    def put(self, data: bytes | memoryview, moved: BytesCallback = ignore_bytes) -> Digest:
        """Store bytes and return their digest; replacing existing ones resets their age."""
        digest = hash_pieces(pieces(data), moved)
        key = self._key(digest)
        existed = self.has(digest)
        with translate_errors(needed_bytes=len(data)):
            send(self._client, self._place, key, data, digest, moved)
        if existed:  # a collector that has not seen this write may be about to delete the object
            self._collecting.wait_for(digest, moved)
            if not self.has(digest):
                with translate_errors(needed_bytes=len(data)):
                    send(self._client, self._place, key, data, digest, moved)
        return digest

    def get(self, digest: Digest, moved: BytesCallback = ignore_bytes) -> bytes:
        """Return the verified bytes."""
        return joined(self.pieces(digest, moved))

    @contextmanager
    def writer(self) -> Iterator[SpoolWriter]:
        """Yield a writer that keeps pieces on the scratch disk until `commit`.

        An object's key is the digest of all its bytes, so none can be sent before the last.
        """
        folder = self._place.scratch
        with raising_storage_full(), tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            yield SpoolWriter(file, self.put)

    @contextmanager
    def batch(self) -> Iterator[SpoolBatch]:
        """Yield a batch that is kept on the scratch disk until `commit`."""
        folder = self._place.scratch
        with (
            raising_storage_full(),
            tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES, dir=str(folder)) as file,
        ):
            yield SpoolBatch(file, self.put)

    def pieces(self, digest: Digest, moved: BytesCallback = ignore_bytes) -> Iterator[bytes]:
        """Yield the bytes in pieces; goes on where a connection broke."""
        where = {"Bucket": self._place.bucket, "Key": self._key(digest)}
        asking = partial(translate_errors, digest)
        parts = object_pieces(self._client, where, asking=asking, reading=translate_errors)
        return verified(parts, digest, moved)

    def verify(self, digest: Digest) -> None:
        """Read and verify the bytes."""
        for _ in self.pieces(digest):
            pass

    def renew(self, digest: Digest) -> None:
        """Verify the bytes, and reset their age: the server copies the object onto itself."""
        from boto3.s3.transfer import TransferConfig

        self.verify(digest)
        where = {"Bucket": self._place.bucket, "Key": self._key(digest)}
        with translate_errors(digest):
            self._client.copy(
                where,
                **where,
                ExtraArgs={"MetadataDirective": "REPLACE"},  # else S3 refuses such a copy
                Config=TransferConfig(multipart_threshold=_MOST_COPIED, use_threads=False),
            )
        self._collecting.wait_for(digest, ignore_bytes)
        if not self.has(digest):
            raise ArtifactMissing(digest=digest)

    def has(self, digest: Digest) -> bool:
        """Return whether the bytes are stored, without verifying them."""
        try:
            with translate_errors(digest):
                self._client.head_object(Bucket=self._place.bucket, Key=self._key(digest))
        except ArtifactMissing:
            return False
        return True

    def delete(self, digest: Digest) -> None:
        """Delete the bytes, if they are stored. Raises ArtifactsUnavailable."""
        if _DIGEST.fullmatch(digest):
            with translate_errors():
                self._client.delete_object(Bucket=self._place.bucket, Key=self._key(digest))

    def delete_if_older(self, digest: Digest, older_than_s: float) -> bool:
        """Delete bytes stored at least `older_than_s` ago; return whether they were deleted."""
        return self._collecting.delete_if_older(digest, self._key(digest), older_than_s)

    def digests(self) -> Iterator[Digest]:
        """Return all digests in the store, in no order."""
        return (row.digest for row in self.stored())

    def stored(self) -> Iterator[StoredArtifact]:
        """Yield all artifacts in the store, in no order."""
        for row, age_s in self._collecting.rows(self._place.prefix):
            name = row["Key"].removeprefix(self._place.prefix).replace("/", "", 1)
            if _DIGEST.fullmatch(name):
                yield StoredArtifact(digest=Digest(name), size=row["Size"], age_s=age_s)

    def sweep(self, older_than_s: float) -> int:
        """Remove multipart uploads and marks that a dead process left; return how many."""
        return self._collecting.sweep(older_than_s)

    def free_bytes(self) -> int:
        """Return the free bytes of the scratch disk, since S3 reports no limit of its own."""
        with translate_errors():
            self._client.head_bucket(Bucket=self._place.bucket)
        return free_bytes_at(self._place.scratch)

    @property
    def _clients(self) -> Clients:
        with self._one_connects:
            if self._connected is None:
                with translate_errors():
                    self._connected = self._place.connect()
            return self._connected

    @property
    def _client(self) -> Any:
        return self._clients.usual

    @property
    def _collecting(self) -> S3Collector:
        return S3Collector(self._clients, self._place)

    def _key(self, digest: Digest) -> str:
        """Return the object's key.

        Raises ArtifactMissing, before any request, if `digest` is not a digest.
        """
        if not _DIGEST.fullmatch(digest):
            raise ArtifactMissing(digest=digest[:80])
        return f"{self._place.prefix}{digest[:2]}/{digest[2:]}"
