"""Middleware that limits the size of request bodies."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.bodies.archive_body import ARCHIVE_TYPES, PART_TYPE, media_type_of
from core.errors import BodyTooLarge

_FILES = frozenset({*ARCHIVE_TYPES, PART_TYPE})  # types of bodies that may be large, as forms may


class BodySizeLimit:
    """Counts the bytes of a body as they arrive; reading past the cap raises BodyTooLarge."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, max_json_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.max_json_bytes = max_json_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        media_type = media_type_of(headers)
        has_files = media_type.startswith("multipart/") or media_type in _FILES
        cap = self.max_body_bytes if has_files else min(self.max_body_bytes, self.max_json_bytes)
        declared = headers.get("content-length", "")
        received = int(declared) if declared.isdigit() and int(declared) > cap else 0

        async def counted() -> Message:
            nonlocal received
            message = {"type": "http.request"} if received > cap else await receive()
            received += len(message.get("body", b""))
            if received > cap:
                raise BodyTooLarge(f"The body is larger than {cap:,} bytes.", cap=cap)
            return message

        await self.app(scope, counted, send)
