"""Read archives, and the objects of buckets, file by file."""

import threading
from collections import deque
from collections.abc import Collection, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any

from core.archives.rules import (
    ArchivedFile,
    ArchiveFormat,
    BucketFolder,
    BucketListing,
    BucketObject,
    Buckets,
    UnpackedCount,
)
from core.archives.streams import gunzip, tar_files, zip_files
from core.artifacts.s3_requests import S3Access, error_code
from core.errors import BucketNotAllowed, BucketUnavailable, ObjectChanged


class StreamingArchiveReader:
    """Reads archives from beginning to end, without a place to unpack them to."""

    def __init__(self, buckets: Buckets) -> None:
        """Prepare to read archives, and the objects of these buckets."""
        self._buckets = buckets

    def files(
        self, archive_format: ArchiveFormat, pieces: Iterator[bytes], count: UnpackedCount
    ) -> Iterator[ArchivedFile]:
        """Yield the files of an archive, each to be read before the next.

        Raises ArchiveUnsafe, ArchiveCorrupt or ArchiveTooBig.
        """
        match archive_format:
            case ArchiveFormat.ZIP:
                yield from zip_files(pieces, count)
            case ArchiveFormat.TAR:
                yield from tar_files(pieces, count)
            case ArchiveFormat.TAR_GZ:
                unpacked = gunzip(pieces)
                yield from tar_files(unpacked, count)
                for rest in unpacked:  # whose end tells that nothing is missing
                    count.add_bytes(len(rest))
            case ArchiveFormat.S3:
                listing = BucketListing.from_bytes(b"".join(pieces))
                yield from bucket_files(self._buckets, listing, count)
        for _ in pieces:  # the store verifies what was read to its end
            pass


# The files of a listing of a bucket.

AT_ONCE = 4  # objects whose first piece is fetched while files are read; a store answers slowly

_Begun = tuple[BucketObject, Iterator[bytes], Future[bytes]]


def bucket_files(
    buckets: Buckets, listing: BucketListing, count: UnpackedCount
) -> Iterator[ArchivedFile]:
    """Yield the files of a listing; the first pieces of the next ones are fetched meanwhile.

    Raises ArchiveTooBig. The pieces of a file raise what `Buckets.pieces` raises.
    """
    folder, waiting = listing.folder, iter(listing.objects)
    begun = deque[_Begun]()
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fetch") as pool:
        while True:
            for listed in islice(waiting, AT_ONCE - len(begun)):
                count.add_file()
                pieces = buckets.pieces(folder.bucket, listed)
                begun.append((listed, pieces, pool.submit(next, pieces, b"")))
            if not begun:
                return
            listed, pieces, first = begun.popleft()
            with closing(_counted(first, pieces, count)) as counted:
                yield ArchivedFile(path=folder.path(listed.key), pieces=counted)


def _counted(
    first: Future[bytes], rest: Iterator[bytes], count: UnpackedCount
) -> Generator[bytes, None, None]:
    count.add_bytes(len(piece := first.result()))
    yield piece
    for piece in rest:
        count.add_bytes(len(piece))
        yield piece


# Buckets on S3.

PIECE = 256 * 1024  # bytes
_TRIES = 2  # of a request
_BREAKS = 3  # of the connection, without a byte in between
_CHANGED = {"404", "NoSuchKey", "NotFound", "412", "PreconditionFailed"}


class S3Buckets:
    """Buckets by name, each with a client that connects at first use."""

    def __init__(self, allowed: Mapping[str, S3Access]) -> None:
        self._allowed = allowed
        self._clients: dict[str, Any] = {}
        self._one_connects = threading.Lock()

    def close(self) -> None:
        """Close the pooled connections."""
        with self._one_connects:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def objects(self, folder: BucketFolder) -> Iterator[BucketObject]:
        """Yield the objects below a prefix, in the order of their keys.

        Raises BucketNotAllowed before any request, or BucketUnavailable.
        """
        pages = self._client(folder.bucket).get_paginator("list_objects_v2")
        with _translated(folder.bucket):
            for page in pages.paginate(Bucket=folder.bucket, Prefix=folder.prefix):
                for row in page.get("Contents", ()):
                    yield BucketObject(key=row["Key"], etag=row["ETag"], size=row["Size"])

    def pieces(self, bucket: str, listed: BucketObject) -> Iterator[bytes]:
        """Yield the bytes of an object in pieces; goes on where a connection broke.

        Each request names the ETag, so that all pieces are of the object that was listed. Raises
        BucketNotAllowed before any request, ObjectChanged before the first piece if the object has
        another ETag now or is gone, and BucketUnavailable.
        """
        client, done, breaks = self._client(bucket), 0, 0
        wanted = {"Bucket": bucket, "Key": listed.key, "IfMatch": listed.etag}
        while True:
            rest = {"Range": f"bytes={done}-"} if done else {}
            with _translated(bucket, changed=_CHANGED):
                answer = client.get_object(**wanted, **rest)
            try:
                # As a context manager, the body is a stream that may end early without an error.
                with _translated(bucket), closing(answer["Body"]) as body:
                    while piece := body.read(PIECE):
                        done, breaks = done + len(piece), 0
                        yield piece
                if done < listed.size:
                    raise _unavailable(bucket, "incomplete")
            except BucketUnavailable:
                breaks += 1
                if breaks == _BREAKS:
                    raise
            else:
                return

    def _client(self, bucket: str) -> Any:
        access = self._allowed.get(bucket)
        if access is None:
            raise BucketNotAllowed(
                f"Imports may not read the bucket {bucket!r}: the operator of this service names "
                "those that they may read in PERENNIAL_IMPORT_BUCKETS.",
                bucket=bucket,
            )
        with self._one_connects:
            if bucket not in self._clients:
                try:
                    with _translated(bucket):
                        self._clients[bucket] = access.client(_TRIES)
                except ValueError as error:
                    raise _unavailable(bucket, "invalid endpoint") from error
            return self._clients[bucket]


@contextmanager
def _translated(bucket: str, *, changed: Collection[str] = ()) -> Iterator[None]:
    """Translate the client's errors to BucketUnavailable, those in `changed` to ObjectChanged."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = error_code(error)
        if code in changed:
            raise ObjectChanged from None
        raise _unavailable(bucket, code) from error
    except BotoCoreError as error:
        raise _unavailable(bucket, type(error).__name__) from error


def _unavailable(bucket: str, answer: str) -> BucketUnavailable:
    return BucketUnavailable(
        f"The bucket {bucket!r} cannot be read now ({answer}).", bucket=bucket, answer=answer
    )
