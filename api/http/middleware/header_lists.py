"""Middleware for headers that hold a list."""

from starlette.types import ASGIApp, Receive, Scope, Send

LISTS = (b"accept", b"if-match", b"if-none-match")


class HeaderLists:
    """Joins repeated lines of a header that holds a list into one list (RFC 9110, 5.3)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for wanted in LISTS:
                lines = [value for name, value in scope["headers"] if name == wanted]
                if len(lines) > 1:
                    others = [line for line in scope["headers"] if line[0] != wanted]
                    scope["headers"] = [*others, (wanted, b", ".join(lines))]
        await self.app(scope, receive, send)
