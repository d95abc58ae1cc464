"""One line of log for each request."""

import logging
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import logs
from worker.inference.admission import OPEN_PATH

log = logging.getLogger(__name__)


class RequestLog:
    """Logs requests with the ids that the API gave them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and log its status and how long it took."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        logs.bind(request_id=Headers(scope=scope).get("x-request-id", ""))
        began, status = time.perf_counter(), 0

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        await self._app(scope, receive, noted)
        level = logging.DEBUG if scope["path"] == OPEN_PATH else logging.INFO
        seconds = round(time.perf_counter() - began, 4)
        log.log(
            level,
            "request",
            extra={"route": scope["path"], "status": status, "seconds": seconds},
        )
