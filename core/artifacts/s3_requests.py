"""Requests to S3, their errors and its conditional deletes."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from core import errors
from core.artifacts.checks import PIECE
from core.artifacts.store import BytesCallback
from core.values import Digest

# Clients with timeouts, and the codes of their errors.

CONNECTIONS = 16
FIRST_REGION = "us-east-1"


@dataclass(frozen=True, kw_only=True)
class S3Access:
    """The address of a store, and how to send requests to it.

    Without a key of its own, credentials come from AWS's variables, files and roles.
    """

    endpoint: str | None = None  # None: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or AWS itself
    region: str | None = None  # None: AWS_REGION, AWS_DEFAULT_REGION, or us-east-1
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    connect_s: float = 5.0
    read_s: float = 30.0

    def client(self, tries: int) -> Any:
        """Return a client that threads can share; no request is sent yet.

        A request is tried so many times, with growing pauses.
        """
        import boto3  # takes a third of a second, and a local store does not need it

        region = self.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        endpoint = self.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3")
        endpoint = endpoint or os.environ.get("AWS_ENDPOINT_URL")
        return boto3.session.Session().client(
            "s3",
            endpoint_url=endpoint,
            region_name=region or FIRST_REGION,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=self._config(tries, path_style=endpoint is not None),
        )

    def _config(self, tries: int, *, path_style: bool) -> Any:
        from botocore.config import Config

        return Config(
            connect_timeout=self.connect_s,
            read_timeout=self.read_s,
            retries={"mode": "standard", "total_max_attempts": tries},
            max_pool_connections=CONNECTIONS,
            # Stores other than AWS's rarely support a host name per bucket.
            s3={"addressing_style": "path" if path_style else "auto"},
            # Artifacts are sent with their SHA-256, and verified by it on every read.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )


def error_code(error: Exception) -> str:
    """Return S3's error code, or the HTTP status if the answer has no body."""
    details = getattr(error, "response", {}).get("Error", {})
    return str(details.get("Code", "unknown"))


# The location of the artifacts.

SCHEME = "s3://"


class Clients(NamedTuple):
    """The boto3 clients of one place."""

    usual: Any
    asks_once: Any  # never retries a request


@dataclass(frozen=True, kw_only=True)
class S3Location:
    """A bucket and a prefix. Credentials come from AWS's own variables, files and roles."""

    bucket: str
    prefix: str  # "", or a path that ends in "/"
    scratch: Path  # folder for this process's unfinished uploads and exports
    access: S3Access
    tries: int = 4  # per request, with growing pauses
    large_bytes: int = 64 * 1024 * 1024  # larger artifacts are uploaded in parts
    part_bytes: int = 32 * 1024 * 1024

    @classmethod
    def of(cls, url: str, *, scratch: Path, endpoint: str, region: str) -> Self:
        """Parse `s3://bucket/prefix`. Raises UnsafeConfiguration if `url` holds anything else."""
        parts = urlsplit(url)
        if not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
            raise errors.UnsafeConfiguration(
                "For S3, PERENNIAL_ARTIFACTS_URL must be s3://BUCKET or s3://BUCKET/PREFIX: "
                "pass credentials in the AWS environment variables."
            )
        prefix = parts.path.strip("/")
        return cls(
            bucket=parts.netloc,
            prefix=f"{prefix}/" if prefix else "",
            scratch=scratch,
            access=S3Access(endpoint=endpoint or None, region=region or None),
        )

    def connect(self) -> Clients:
        """Create clients that threads can share; sends no request yet."""
        return Clients(usual=self.access.client(self.tries), asks_once=self.access.client(1))


# Errors, translated to the service's own, without object keys or headers.

MISSING = {"404", "NoSuchKey", "NotFound"}
NO_ROOM = {
    "507",
    "InsufficientStorage",
    "InsufficientCapacity",
    "QuotaExceeded",
    "ServiceQuotaExceededException",
    "XMinioStorageFull",
    "XMinioAdminBucketQuotaExceeded",
}
TAKEN = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}


@contextmanager
def translate_errors(
    digest: Digest | None = None, *, needed_bytes: int | None = None
) -> Iterator[None]:
    """Translate the client's errors to ArtifactMissing, StorageFull or ArtifactsUnavailable.

    ArtifactMissing needs a `digest`; without one, a missing object is ArtifactsUnavailable.
    StorageFull carries `needed_bytes`, the size of what was to be stored.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = error_code(error)
        if code in MISSING and digest is not None:
            raise errors.ArtifactMissing(digest=digest) from None
        if code in NO_ROOM:
            raise errors.StorageFull(
                "The S3 store has no space left.", needed_bytes=needed_bytes
            ) from error
        raise errors.ArtifactsUnavailable(f"The S3 store returned {code}.", answer=code) from error
    except BotoCoreError as error:
        # The client wraps an error that a request body raises while it is read.
        if isinstance(wrapped := error.kwargs.get("error"), errors.PerennialError):
            raise wrapped from None
        kind = type(error).__name__
        raise errors.ArtifactsUnavailable(
            f"The S3 store does not respond ({kind}).", answer=kind
        ) from error


# An object's bytes, read in pieces.

_BREAKS = 3  # of the connection, without a byte in between


def object_pieces(
    client: Any,
    where: Mapping[str, str],
    *,
    asking: Callable[[], AbstractContextManager[None]],
    reading: Callable[[], AbstractContextManager[None]],
    size: int = 0,
) -> Iterator[bytes]:
    """Yield the bytes of an object, `size` at least; goes on where a connection broke.

    The errors of a request are translated by `asking`, those of its answer by `reading`.
    """
    from botocore.exceptions import IncompleteReadError

    done, breaks = 0, 0
    while True:
        rest = {"Range": f"bytes={done}-"} if done else {}
        with asking():
            answer = client.get_object(**where, **rest)
        try:
            # As a context manager, the body is a stream that may end early without an error.
            with reading(), closing(answer["Body"]) as body:
                while piece := body.read(PIECE):
                    done, breaks = done + len(piece), 0
                    yield piece
                if done < size:
                    raise IncompleteReadError(actual_bytes=done, expected_bytes=size)
        except errors.Unavailable:
            breaks += 1
            if breaks == _BREAKS:
                raise
        else:
            return


# Deletion of old S3 objects while writers may be storing the same bytes again.
#
# S3 cannot delete an object on condition that nobody has written it since. Collector and writer
# therefore coordinate through a mark, an empty object:
#
#     collector: create mark - read the object's age - delete if old - remove mark
#     writer of an existing object: write - wait while there is a mark - check - if gone, write
#
# S3's answers are consistent. The collector sees every write that ends before it reads the age. The
# writer of a later one finds the mark and waits, or finds that the mark has been removed; in both
# cases it checks after the deletion. A writer that found no object comes after the deletion, since
# that is requested once and never retried. If the deletion's answer is lost, the mark stays until
# the request can no longer take effect.

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
        except errors.ArtifactMissing:
            return None
        age_s: float = (_clock_of(found) - found["LastModified"]).total_seconds()
        return age_s


def _clock_of(answer: dict[str, Any]) -> datetime:
    """Return the store's time, so that our own clock does not decide what is old."""
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(date) if date else datetime.now(UTC)
