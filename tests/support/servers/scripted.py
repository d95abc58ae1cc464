"""A server that replies as it is told, and remembers what it was asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.servers.answering import in_thread


@dataclass
class Script:
    """Replies in order, the last again and again, and the requests that were made."""

    url: str = ""
    replies: list[Response] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)  # method and path
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def reply(self, request: Request) -> Response:
        """Reply the next in order."""
        self.requests.append((request.method, request.url.path))
        self.headers.append(dict(request.headers))
        self.bodies.append(await request.body())
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@contextmanager
def scripted() -> Iterator[Script]:
    script = Script()
    app = Starlette(routes=[Route("/{path:path}", script.reply, methods=["GET", "POST", "PUT"])])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    with in_thread(server) as script.url:
        yield script
