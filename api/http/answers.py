"""Answers: their media types, preconditions, downloads, images and tables."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import Header, Request
from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from api.dependencies import Services
from api.http.problems import problem_of
from core import errors
from core.values import Digest

# Content negotiation by the Accept header (RFC 9110, 12.5.1).


def preferred(accept: str | None, offered: Sequence[str]) -> str:
    """Return the offered media type that an Accept header prefers; on a tie, the first offered.

    Raises NotAcceptable when the header accepts none of them.
    """
    ranges = [_parse_range(item) for item in (accept or "*/*").split(",") if item.strip()]
    best = max(offered, key=lambda media_type: _quality(media_type, ranges))
    if _quality(best, ranges) <= 0:
        raise errors.NotAcceptable(offered=list(offered))
    return best


def _parse_range(item: str) -> tuple[str, float]:
    name, *options = (piece.strip() for piece in item.split(";"))
    quality = next((option[2:] for option in options if option.startswith("q=")), "1")
    try:
        return name.lower(), float(quality)
    except ValueError:
        return name.lower(), 0.0


def _quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Return the quality that the most specific matching range gives, 0 without a match."""
    family = media_type.partition("/")[0] + "/*"
    for wanted in (media_type, family, "*/*"):
        found = [quality for name, quality in ranges if name == wanted]
        if found:
            return max(found)
    return 0.0


# Preconditions by If-Match and If-None-Match (RFC 9110, 13.1).

IfMatch = Annotated[str | None, Header(alias="If-Match", examples=['"2"'])]

ANY = "*"

_TAG = re.compile(r'(W/)?"([^"]*)"')
_LIST = re.compile(rf"[ \t,]*(?:{_TAG.pattern}(?:[ \t,]+|$))*")
_REVISION = re.compile(r"[1-9][0-9]{0,8}")  # revisions count from 1


def etag(revision: int) -> str:
    """Return the entity tag of a revision."""
    return f'"{revision}"'


def matches_etag(if_none_match: str | None, tag: str) -> bool:
    """Return True if an If-None-Match header names this entity tag, or any."""
    if if_none_match is None:
        return False
    held = {opaque for _, opaque in _tags(if_none_match)}  # weak comparison
    return if_none_match.strip() == ANY or tag.strip('"') in held


def expected_revision(
    if_match: str | None, if_none_match: str | None, present: Callable[[], int]
) -> int:
    """Return the revision that a change expects to find, 0 if it expects none.

    `present` reads the present revision, for `*` and for lists. Raises PreconditionRequired
    without either header or for an If-None-Match other than `*`, and StaleRevision when no tag of
    the list is that of the present revision.
    """
    if if_none_match is not None:
        if if_none_match.strip() != ANY:
            raise errors.PreconditionRequired(
                "Here, If-None-Match must be *: it creates the alias only if there is none."
            )
        return 0
    if if_match is None:
        raise errors.PreconditionRequired
    if if_match.strip() == ANY:
        return present()
    tags = [tag for weak, tag in _tags(if_match) if not weak]  # strong comparison
    revisions = {int(tag) for tag in tags if _REVISION.fullmatch(tag)}
    if len(revisions) == 1:
        return revisions.pop()
    if not revisions:
        raise errors.StaleRevision(
            'If-Match must be *, or the ETag of the alias with its quotes, such as "2".',
            if_match=if_match[:40],
        )
    if (revision := present()) not in revisions:
        raise errors.StaleRevision(if_match=if_match[:40])
    return revision


def _tags(header: str) -> list[tuple[str, str]]:
    """Return each entity tag as `W/` or "" and its opaque part; nothing for a malformed list."""
    return _TAG.findall(header) if _LIST.fullmatch(header) else []


# File downloads, whole or by range.

MODIFIED = b"last-modified"

IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match")]


def answer_download(
    digest: Digest,
    if_none_match: str | None,
    find: Callable[[], Path],
    *,
    media_type: str,
    filename: str,
) -> Response:
    """Return a file as a download whose ETag is a digest, or 304 if the client has it.

    `find` returns the file's path; it is called only when the file is sent.
    """
    tag = {"ETag": f'"{digest}"'}
    if matches_etag(if_none_match, tag["ETag"]):
        return Response(status_code=304, headers=tag)
    return Download(find(), media_type=media_type, filename=filename, headers=tag)


class Download(FileResponse):
    """File response that refuses a bad Range with a problem document.

    Its ETag alone tells whether a client has it: the file may be written anew for each request.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, the requested range, or a problem document."""
        refused: Message | None = None

        async def send_unless_refused(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                message["headers"] = [one for one in message["headers"] if one[0] != MODIFIED]
                if message["status"] in {400, 416}:
                    refused = message
            if refused is None:
                await send(message)

        await super().__call__(scope, receive, send_unless_refused)
        if refused is None:
            return
        if refused["status"] == 400:
            response = problem_of(
                Request(scope), errors.Malformed("Range must list one or more byte ranges.")
            )
        else:
            response = problem_of(Request(scope), errors.RangeNotSatisfiable())
            response.headers["Content-Range"] = Headers(raw=refused["headers"])["content-range"]
        await response(scope, receive, send)


# Stored images, whole or as thumbnails, which never change.

WEBP = "image/webp"


def image_answer(services: Services, artifact: Digest, if_none_match: str | None) -> Response:
    """Return an image as it is stored; 304 if the client has it."""
    headers = _immutable(artifact)
    if matches_etag(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    data = services.platform.artifacts.get(artifact)
    return Response(data, headers=headers, media_type=WEBP)


async def thumbnail_answer(
    services: Services, artifact: Digest, if_none_match: str | None
) -> Response:
    """Return a small WebP of an image; 304 if the client has it."""
    headers = _immutable(f"{artifact}-thumbnail")
    if matches_etag(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)

    def shrink() -> bytes:
        return services.decoder.preview(services.platform.artifacts.get(artifact))

    data = await services.decoding.run(shrink)
    return Response(data, headers=headers, media_type=WEBP)


def _immutable(tag: str) -> dict[str, str]:
    """Return the headers of bytes that never change: their path names the image's pixels."""
    return {"ETag": f'"{tag}"', "Cache-Control": "private, max-age=31536000, immutable"}


# Tables as CSV (RFC 4180) that no spreadsheet runs as formulas.

CSV = "text/csv"
CSV_CONTENT: Mapping[str, Any] = {CSV: {"schema": {"type": "string"}}}

# What begins a formula, also in its full-width form, and what spreadsheets drop before one.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Return a table as CSV, with a header line; columns that a row lacks are empty.

    A text that a spreadsheet could run as a formula gets an apostrophe in front.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return out.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA):
        return f"'{value}"
    return value
