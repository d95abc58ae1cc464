"""Files that are sent, whole or by range."""

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from api.http.problems import problem_of
from core.errors import Malformed, RangeNotSatisfiable


class Download(FileResponse):
    """A file, whose refusal of a Range is a problem document like every other."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, the wanted range, or the problem with it."""
        refused: Message | None = None

        async def unless_refused(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] in {400, 416}:
                refused = message
            if refused is None:
                await send(message)

        await super().__call__(scope, receive, unless_refused)
        if refused is None:
            return
        if refused["status"] == 400:
            answer = problem_of(Request(scope), Malformed("Range holds one or more byte ranges."))
        else:
            answer = problem_of(Request(scope), RangeNotSatisfiable())
            answer.headers["Content-Range"] = Headers(raw=refused["headers"])["content-range"]
        await answer(scope, receive, send)
