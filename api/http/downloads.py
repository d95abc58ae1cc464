"""File downloads, whole or by range."""

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from api.http.problems import problem_of
from core.errors import Malformed, RangeNotSatisfiable


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
