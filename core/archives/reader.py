"""Read archives, and the objects of buckets, file by file."""

import threading
from collections import deque
from collections.abc import Collection, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from core.archives.rules import (
    TABLE,
    ArchivedFile,
    ArchiveFormat,
    BucketFolder,
    BucketListing,
    BucketObject,
    Buckets,
    UnpackedCount,
    is_ignored,
    is_shard,
)
from core.archives.streams import gunzip, tar_files, zip_files
from core.archives.tables import TableReader
from core.artifacts.s3_requests import S3Access, error_code, object_pieces
from core.errors import BucketNotAllowed, BucketUnavailable, ObjectChanged


class ArchiveReader:
    """Reads archives from beginning to end, without a place to unpack them to."""

    def __init__(self, buckets: Buckets, tables: TableReader) -> None:
        """Prepare to read archives, the objects of these buckets, and tables in either."""
        self._buckets = buckets
        self.tables = tables

    def files(
        self, archive_format: ArchiveFormat, pieces: Iterator[bytes], count: UnpackedCount
    ) -> Iterator[ArchivedFile]:
        """Yield the files of an archive that comes in pieces, all of which are read.

        Each is read before the next, and what is not read of it is skipped. Raises ArchiveUnsafe,
        ArchiveCorrupt, ArchiveTooBig and what `pieces` raises.
        """
        match archive_format:
            case ArchiveFormat.ZIP:
                yield from zip_files(pieces, count)
            case ArchiveFormat.TAR:
                yield from tar_files(pieces, count)
            case ArchiveFormat.TAR_GZ:
                unpacked = gunzip(pieces)
                yield from tar_files(unpacked, count)
                for _ in count.counted(unpacked):  # whose end tells that nothing is missing
                    pass
            case ArchiveFormat.PARQUET:
                yield ArchivedFile(path=(f"images{TABLE}",), pieces=count.counted(pieces))
            case ArchiveFormat.S3:
                listing = BucketListing.from_bytes(b"".join(pieces))
                yield from bucket_files(self._buckets, listing, count)
        for _ in pieces:  # the store verifies what was read to its end
            pass


def with_shards(files: Iterator[ArchivedFile], count: UnpackedCount) -> Iterator[ArchivedFile]:
    """Yield files, and in the place of each tar among them the files that it holds.

    A tar within such a tar is not opened. Raises what `tar_files` raises.
    """
    for file in files:
        if is_ignored(file.path) or not is_shard(file.path):
            yield file
            continue
        for inner in tar_files(file.pieces, count, is_counted=True):
            if inner.path:
                yield replace(inner, path=(*file.path, *inner.path))


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
            with closing(_joined(first, pieces)) as parts:
                yield ArchivedFile(path=folder.path(listed.key), pieces=count.counted(parts))


def _joined(first: Future[bytes], rest: Iterator[bytes]) -> Generator[bytes, None, None]:
    yield first.result()
    yield from rest


# Buckets on S3.

_TRIES = 2  # of a request
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
        """Yield the objects below a prefix, in the order of their keys."""
        pages = self._client(folder.bucket).get_paginator("list_objects_v2")
        with _translated(folder.bucket):
            for page in pages.paginate(Bucket=folder.bucket, Prefix=folder.prefix):
                for row in page.get("Contents", ()):
                    yield BucketObject(key=row["Key"], etag=row["ETag"], size=row["Size"])

    def pieces(self, bucket: str, listed: BucketObject) -> Iterator[bytes]:
        """Yield the bytes of an object in pieces; goes on where a connection broke.

        Each request names the ETag, so that all pieces are of the object that was listed.
        """
        yield from object_pieces(
            self._client(bucket),
            {"Bucket": bucket, "Key": listed.key, "IfMatch": listed.etag},
            asking=partial(_translated, bucket, changed=_CHANGED),
            reading=partial(_translated, bucket),
            size=listed.size,
        )

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
