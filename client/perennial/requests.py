"""Parts of requests and of replies: paths, retries, errors, images and archives."""

import secrets
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import quote

import httpx

from perennial.errors import ServiceError

RETRIES = 2
RETRIED = {429, 503}
PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0
KEY = "Idempotency-Key"


def path_of(*segments: str | int) -> str:
    """Return a path below `/v1` with its segments escaped."""
    return "/v1/" + "/".join(quote(str(segment), safe="@:") for segment in segments)


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not None: the service has defaults for the others."""
    return {name: value for name, value in fields.items() if value is not None}


def query_of(**parameters: Any) -> dict[str, Any]:
    """Return the query parameters that are not None, with times as in RFC 3339."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in given(**parameters).items()
    }


def idempotency(key: str | None) -> dict[str, str]:
    """Return the headers of an order that is placed once, however often it is sent.

    Without a key, it gets a random one.
    """
    return {KEY: secrets.token_urlsafe(16) if key is None else key}


def if_match(revision: int | None) -> dict[str, str]:
    """Return the headers of a change of what has a revision, or any one if that is None."""
    return {"If-Match": "*" if revision is None else f'"{revision}"'}


def may_be_repeated(method: str, sent: Mapping[str, Any]) -> bool:
    """Return whether a request may be sent again; a file that was read while sent may not."""
    whole = isinstance(sent.get("content", b""), bytes)
    return method.upper() == "GET" or (whole and KEY in (sent.get("headers") or {}))


def pause_before_repeating(response: httpx.Response) -> float | None:
    """Return how long to wait before a request is sent again, or None if it is not."""
    if response.status_code == httpx.codes.CONFLICT and error_of(response).code == "in_progress":
        return PAUSE_S  # the service still answers the request whose connection broke
    if response.status_code not in RETRIED:
        return None
    asked = response.headers.get("Retry-After", "1")
    return float(asked) if asked.isdecimal() and float(asked) <= LONGEST_PAUSE_S else None


# Reading replies: their JSON, or the error that they report.

_SHOWN = 200  # characters of a reply that is not the service's own

# By RFC 9110; httpx has older names.
_CODES = {
    413: "content_too_large",
    414: "uri_too_long",
    416: "range_not_satisfiable",
    422: "unprocessable_content",
}


def json_of(response: httpx.Response) -> Any:
    """Return the JSON of a successful reply. Raises ServiceError if it is something else."""
    try:
        return response.json()
    except ValueError as error:
        raise ServiceError(response.status_code, "reply_not_json", _described(response)) from error


def error_of(response: httpx.Response) -> ServiceError:
    """Return the error that an unsuccessful reply reports."""
    if problem := _problem(response):
        return ServiceError(
            response.status_code,
            problem["code"],
            problem.get("detail", ""),
            facts=problem.get("facts"),
            errors=problem.get("errors", ()),
            request_id=problem.get("request_id", ""),
            retryable=problem.get("retryable", False),
        )
    return ServiceError(response.status_code, _code(response.status_code), _described(response))


def _problem(response: httpx.Response) -> dict[str, Any] | None:
    """Return the problem document (RFC 9457) that a reply holds, if it is one of the service's."""
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) and isinstance(body.get("code"), str) else None


def _code(status: int) -> str:
    phrase = httpx.codes.get_reason_phrase(status) or "unknown status"
    return _CODES.get(status, phrase.lower().replace(" ", "_").replace("-", "_"))


def _described(response: httpx.Response) -> str:
    if response.has_redirect_location:
        place = response.headers["Location"]
        return f"The reply redirects to {place}; redirects are not followed."
    kind = response.headers.get("Content-Type", "no content type")
    text = " ".join(response.text[:_SHOWN].split())
    return f"The reply to {response.request.url} is not from the service ({kind}): {text}"


# Images to send, on disk or in memory, in batches that are small enough for one request.

BATCH_IMAGES = 200
LABELS_AT_ONCE = 1000
BATCH_BYTES = 128 * 1024**2


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """An image in memory, as the bytes of a file."""

    file_name: str
    data: bytes


Image = Path | ImageFile
Batch = list[tuple[str, ImageFile]]


def batches(images: Iterable[tuple[str, Image]]) -> Iterator[Batch]:
    """Yield batches of images with their texts; images on disk are read batch by batch."""
    batch: Batch = []
    size = 0
    for text, image in images:
        found = in_memory(image)
        if batch and (len(batch) == BATCH_IMAGES or size + len(found.data) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((text, found))
        size += len(found.data)
    if batch:
        yield batch


def in_memory(image: Image) -> ImageFile:
    """Return an image with its bytes, which are read now if it is on disk. Raises OSError."""
    if isinstance(image, ImageFile):
        return image
    return ImageFile(file_name=image.name, data=image.read_bytes())


def form_file(name: str, image: ImageFile) -> tuple[str, tuple[str, bytes]]:
    """Return an image as a file field of a form, in the shape that httpx takes."""
    return name, (image.file_name, image.data)


# Archives to send: files as they are, and folders packed into a tar.


@contextmanager
def opened(source: Path) -> Iterator[BinaryIO]:
    """Open an archive, or pack a folder, with what its links lead to. Raises OSError."""
    if not source.is_dir():
        with source.open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w", dereference=True) as archive:
            for path in sorted(source.rglob("*")):
                if path.is_file():
                    archive.add(path, arcname=str(path.relative_to(source)), recursive=False)
        file.seek(0)
        yield cast(BinaryIO, file)
