"""Routes of pages."""

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request, Response

from api.http.threadpool_route import ThreadRoute
from core.errors import Forbidden

SAFE = frozenset({"GET", "HEAD"})


class PageRoute(ThreadRoute):
    """Route that takes a form only from a page of this service."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of a request."""
        handle = super().get_route_handler()

        async def handle_own(request: Request) -> Response:
            if request.method not in SAFE:
                require_same_origin(request)
            return await handle(request)

        return handle_own


def require_same_origin(request: Request) -> None:
    """Raise Forbidden if the browser says that a page of another origin sends the request.

    Browsers say so in Sec-Fetch-Site (Fetch Metadata) where the connection is confidential, and
    else in Origin.
    """
    site = request.headers.get("sec-fetch-site")
    if site is None:
        origin = request.headers.get("origin")
        same = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    else:
        same = site in {"same-origin", "none"}
    if not same:
        raise Forbidden("This form was sent from another site's page.")
