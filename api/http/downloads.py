"""File downloads, whole or by range."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from fastapi import Header
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from api.http.preconditions import matches_etag
from api.http.problems import problem_of
from core.domain.values import Digest
from core.errors import Malformed, RangeNotSatisfiable

IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match")]


class Download(FileResponse):
    """File response that refuses a bad Range with a problem document."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, the requested range, or a problem document."""
        refused: Message | None = None

        async def send_unless_refused(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] in {400, 416}:
                refused = message
            if refused is None:
                await send(message)

        await super().__call__(scope, receive, send_unless_refused)
        if refused is None:
            return
        if refused["status"] == 400:
            response = problem_of(
                Request(scope), Malformed("Range must list one or more byte ranges.")
            )
        else:
            response = problem_of(Request(scope), RangeNotSatisfiable())
            response.headers["Content-Range"] = Headers(raw=refused["headers"])["content-range"]
        await response(scope, receive, send)


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
