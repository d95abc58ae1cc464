"""Middleware that gives documents an entity tag, and answers 304 to clients that have them."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.preconditions import matches_etag
from core.domain.values import sha256

TAGGED = ("application/json", "text/html", "text/csv", "image/svg+xml")


class EntityTags:
    """Gives the answer to a GET that is sent in one piece a weak ETag, made from its bytes.

    An ETag that the route has set is kept. The answer is 304, without a body, if If-None-Match
    has the tag.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        start: Message | None = None

        async def send_tagged(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_document(message):
                start = message  # held until its body is sent
                return
            if start is not None:
                held, start = start, None
                if not message.get("more_body", False):
                    message = _tag(scope, held, message)
                await send(held)
            await send(message)

        await self.app(scope, receive, send_tagged)


def _is_document(start: Message) -> bool:
    headers = Headers(raw=start["headers"])
    media_type = headers.get("content-type", "").partition(";")[0]
    return start["status"] == 200 and media_type in TAGGED


def _tag(scope: Scope, start: Message, body: Message) -> Message:
    """Add the tag to the head of a response; return the body, which is empty for a 304."""
    headers = MutableHeaders(scope=start)
    tag = headers.setdefault("ETag", f'W/"{sha256(body["body"])[:32]}"')
    if not matches_etag(Headers(scope=scope).get("if-none-match"), tag.removeprefix("W/")):
        return body
    start["status"] = 304
    del headers["content-length"]
    del headers["content-type"]
    return {**body, "body": b""}
