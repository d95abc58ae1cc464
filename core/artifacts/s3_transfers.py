"""Transfers of artifacts to S3: together, through a file, in parts."""

import base64
import hashlib
import mmap
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import IO, Any

from core import errors
from core.artifacts.checks import PIECE, ReportingBody
from core.artifacts.s3_requests import S3Location, translate_errors
from core.artifacts.store import BytesCallback, ignore_bytes
from core.values import Digest, sha256

IN_MEMORY_BYTES = 16 * 1024 * 1024
AT_ONCE = 4  # artifacts that are sent at once; each waits for the network most of the time


class SpoolBatch:
    """Collects artifacts in an unnamed file, which no crash leaves behind."""

    def __init__(self, file: IO[bytes], put: Callable[[bytes], Digest]) -> None:
        self._file = file
        self._put = put
        self._sizes: dict[Digest, int] = {}  # in file order
        self._lock = threading.Lock()

    def add(self, data: bytes) -> Digest:
        """Add bytes to the file and return their digest. Raises OSError."""
        digest = sha256(data)
        with self._lock:
            if digest not in self._sizes:
                self._file.write(data)
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


class SpoolWriter:
    """Writes an artifact to an unnamed file, since it is too large for memory."""

    def __init__(
        self, file: IO[bytes], put: Callable[[bytes | memoryview, BytesCallback], Digest]
    ) -> None:
        self._file = file
        self._put = put

    def write(self, piece: bytes) -> None:
        """Add a piece. Raises OSError."""
        rest = memoryview(piece)
        while rest:
            rest = rest[self._file.write(rest) :]

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


# Uploads, in one request or in parts that become visible together.

PARTS_AT_ONCE = 4  # parts

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
        with ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="s3-part") as pool:
            parts = list(pool.map(send_part, _parts(data, place.part_bytes)))
        client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    except BaseException:
        with suppress(errors.Unavailable), translate_errors():  # the sweeper aborts what is left
            client.abort_multipart_upload(**upload)
        raise


def _parts(data: memoryview, part_bytes: int) -> Iterator[tuple[int, memoryview]]:
    size = max(part_bytes, -(-len(data) // MOST_PARTS))
    for number, begin in enumerate(range(0, len(data), size), start=1):
        yield number, data[begin : begin + size]


def _checksum(data: bytes | memoryview) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()
