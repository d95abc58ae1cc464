"""The artifact store on S3: `prefix/ab/cdef...` holds the bytes whose SHA-256 is `abcdef...`.

S3 shows an object whole or not at all, so that a name never refers to a partial one. Each upload
carries the SHA-256 of its bytes, and the store refuses bytes that do not match; reads are verified
here.
"""

import base64
import hashlib
import mmap
import re
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from core.artifacts.checks import PIECE, ReportingBody, hash_pieces, pieces, read_pieces
from core.artifacts.s3_requests import (
    FIRST_REGION,
    MISSING,
    Clients,
    S3Collector,
    S3Location,
    error_code,
    translate_errors,
)
from core.artifacts.store import BytesCallback, StoredArtifact, ignore_bytes
from core.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    ArtifactsUnavailable,
    StorageFull,
    Unavailable,
    is_full_disk,
)
from core.values import Digest, sha256

# Small artifacts that are sent to S3 together.


IN_MEMORY_BYTES = 16 * 1024 * 1024

AT_ONCE = 4  # artifacts that are sent at once; each waits for the network most of the time


class SpoolBatch:
    """The `ArtifactBatch` port over an unnamed file, which no crash leaves behind."""

    def __init__(self, scratch: Path, put: Callable[[bytes], Digest]) -> None:
        self._file = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - closed by __exit__
            max_size=IN_MEMORY_BYTES, dir=str(scratch)
        )
        self._put = put
        self._sizes: dict[Digest, int] = {}  # in file order
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, data: bytes) -> Digest:
        """Add bytes to the file and return their digest. Raises StorageFull."""
        digest = sha256(data)
        with self._lock:
            if digest not in self._sizes:
                try:
                    self._file.write(data)
                except OSError as error:
                    if is_full_disk(error):
                        raise StorageFull from error
                    raise
                self._sizes[digest] = len(data)
        return digest

    def commit(self) -> None:
        """Send all artifacts. Raises StorageFull or ArtifactsUnavailable."""
        self._file.seek(0)
        sending = deque[Future[Digest]]()
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="s3-batch") as pool:
            for size in self._sizes.values():
                while len(sending) >= AT_ONCE:
                    sending.popleft().result()
                sending.append(pool.submit(self._put, self._file.read(size)))
            for future in sending:
                future.result()


# Objects on S3 that are too large for memory: written through a file, read in pieces.


_BREAKS = 3  # of the connection, without a byte in between


class SpoolWriter:
    """The `ArtifactWriter` port over an unnamed file, which no crash leaves behind."""

    def __init__(
        self, scratch: Path, put: Callable[[bytes | memoryview, BytesCallback], Digest]
    ) -> None:
        self._file = tempfile.TemporaryFile(  # noqa: SIM115 - closed by __exit__
            dir=scratch, buffering=0
        )
        self._put = put

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def write(self, piece: bytes) -> None:
        """Add a piece. Raises StorageFull."""
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            if is_full_disk(error):
                raise StorageFull from error
            raise

    def commit(self, moved: BytesCallback = ignore_bytes) -> Digest:
        """Send the file and return its digest. Raises StorageFull or ArtifactsUnavailable."""
        if not self._file.tell():
            return self._put(b"", moved)
        with mmap.mmap(self._file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            view = memoryview(mapped)
            try:
                return self._put(view, moved)
            finally:
                view.release()


def read_verified(
    client: Any, place: S3Location, key: str, digest: Digest, moved: BytesCallback
) -> Iterator[bytes]:
    """Yield an object's bytes in pieces, asking for the rest when the connection breaks.

    Raises ArtifactMissing, ArtifactsUnavailable or, after the last piece, ArtifactCorrupt.
    """
    total, done, breaks = hashlib.sha256(), 0, 0
    while True:
        rest = {"Range": f"bytes={done}-"} if done else {}
        with translate_errors(digest):
            answer = client.get_object(Bucket=place.bucket, Key=key, **rest)
        try:
            with translate_errors(), closing(answer["Body"]) as body:
                while piece := body.read(PIECE):
                    total.update(piece)
                    done, breaks = done + len(piece), 0
                    moved(len(piece))
                    yield piece
            break
        except ArtifactsUnavailable:
            breaks += 1
            if breaks == _BREAKS:
                raise
    if total.hexdigest() != digest:
        raise ArtifactCorrupt(digest=digest)


# Upload of an object to S3, in one request or in parts that become visible together.


AT_ONCE_OF_S3_UPLOAD = 4  # parts

MOST_PARTS = 10_000  # S3's limit


def send(
    client: Any,
    place: S3Location,
    key: str,
    data: bytes | memoryview,
    digest: Digest,
    moved: BytesCallback,
) -> None:
    """Store bytes under a key.

    Raises the client's errors; nothing is visible then.
    """
    if len(data) <= place.large_bytes:
        total = base64.b64encode(bytes.fromhex(digest)).decode()
        body = _body(data, moved)
        client.put_object(Bucket=place.bucket, Key=key, Body=body, ChecksumSHA256=total)
    else:
        _send_in_parts(client, place, key, memoryview(data), moved)


def _body(data: bytes | memoryview, moved: BytesCallback) -> bytes | ReportingBody:
    """Return the body to send: bytes if small, since file-like bodies cost a round trip first."""
    return bytes(data) if len(data) <= PIECE else ReportingBody(data, moved)


def _send_in_parts(
    client: Any, place: S3Location, key: str, data: memoryview, moved: BytesCallback
) -> None:
    where = {"Bucket": place.bucket, "Key": key}
    begun = client.create_multipart_upload(**where, ChecksumAlgorithm="SHA256")
    upload = where | {"UploadId": begun["UploadId"]}

    def send_part(part: tuple[int, memoryview]) -> dict[str, Any]:
        number, piece = part
        total = _checksum(piece)
        sent = client.upload_part(
            **upload, PartNumber=number, Body=_body(piece, moved), ChecksumSHA256=total
        )
        return {"PartNumber": number, "ETag": sent["ETag"], "ChecksumSHA256": total}

    try:
        with ThreadPoolExecutor(AT_ONCE_OF_S3_UPLOAD, thread_name_prefix="s3-part") as pool:
            parts = list(pool.map(send_part, _parts(data, place.part_bytes)))
        client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    except BaseException:
        with suppress(Unavailable), translate_errors():  # the sweeper aborts what is left
            client.abort_multipart_upload(**upload)
        raise


def _parts(data: memoryview, part_bytes: int) -> Iterator[tuple[int, memoryview]]:
    size = max(part_bytes, -(-len(data) // MOST_PARTS))
    for number, begin in enumerate(range(0, len(data), size), start=1):
        yield number, data[begin : begin + size]


def _checksum(data: bytes | memoryview) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


_DIGEST = re.compile(r"[0-9a-f]{64}")

_READS = 3  # attempts to read an object when the connection breaks midway

_MOST_COPIED = 5 << 30  # bytes that S3 copies in one request


class S3Artifacts:
    """The `Artifacts` port over a bucket; connects at first use. Pickles as its place."""

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
        """Store bytes and return their digest; existing bytes are replaced, which resets their age.

        Raises StorageFull or ArtifactsUnavailable, leaving no object behind.
        """
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
        """Return the verified bytes.

        Raises ArtifactMissing, ArtifactCorrupt or ArtifactsUnavailable.
        """
        data, found = self._read(digest, moved)
        if found != digest:
            raise ArtifactCorrupt(digest=digest)
        return data

    @contextmanager
    def writer(self) -> Iterator[SpoolWriter]:
        """Yield a writer that keeps pieces on the scratch disk until `commit`.

        An object's key is the digest of all its bytes, so none can be sent before the last.
        """
        with SpoolWriter(self._place.scratch, self.put) as writer:
            yield writer

    @contextmanager
    def batch(self) -> Iterator[SpoolBatch]:
        """Yield a batch that is kept on the scratch disk until `commit`."""
        with SpoolBatch(self._place.scratch, self.put) as batch:
            yield batch

    def pieces(self, digest: Digest, moved: BytesCallback = ignore_bytes) -> Iterator[bytes]:
        """Yield the bytes in pieces; goes on where a connection broke.

        Raises ArtifactMissing, ArtifactsUnavailable or, at the end, ArtifactCorrupt.
        """
        return read_verified(self._client, self._place, self._key(digest), digest, moved)

    def verify(self, digest: Digest) -> None:
        """Read and verify the bytes.

        Raises ArtifactMissing, ArtifactCorrupt or ArtifactsUnavailable.
        """
        for _ in self.pieces(digest):
            pass

    def renew(self, digest: Digest) -> None:
        """Verify the bytes, and reset their age by having the server copy the object onto itself.

        Raises ArtifactMissing, ArtifactCorrupt or ArtifactsUnavailable.
        """
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
        """Return whether the bytes are stored, without verifying them.

        Raises ArtifactsUnavailable.
        """
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
        """Return the free bytes of the scratch disk, since S3 reports no limit of its own.

        Raises ArtifactsUnavailable.
        """
        with translate_errors():
            self._client.head_bucket(Bucket=self._place.bucket)
        folder = self._place.scratch.absolute()
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

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

    def _read(self, digest: Digest, moved: BytesCallback) -> tuple[bytes, Digest]:
        """Return an object's bytes and their SHA-256.

        Reads again when an answer breaks off midway: the client retries requests only.
        """
        key = self._key(digest)
        for left in reversed(range(_READS)):
            with translate_errors(digest):
                answer = self._client.get_object(Bucket=self._place.bucket, Key=key)
            try:
                with translate_errors(), closing(answer["Body"]) as body:
                    return read_pieces(body.read, moved)
            except ArtifactsUnavailable:
                if not left:
                    raise
        raise AssertionError("unreachable")
