"""Upload of an object to S3, in one request or in parts that become visible together."""

import base64
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from core.adapters.artifacts.chunked_io import PIECE, ReportingBody
from core.adapters.artifacts.s3_client import S3Location
from core.adapters.artifacts.s3_errors import translate_errors
from core.domain.values import Digest
from core.errors import Unavailable
from core.ports import BytesCallback

AT_ONCE = 4  # parts
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
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="s3-part") as pool:
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
