"""Middleware for requests from pages of other origins (CORS)."""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.problems import problem_of
from core.errors import Forbidden

METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
REQUEST_HEADERS = (
    "Authorization",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "Range",
    "Tus-Resumable",
    "Upload-Checksum",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
    "X-Request-Id",
)
RESPONSE_HEADERS = (
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Tus-Resumable",
    "Upload-Expires",
    "Upload-Length",
    "Upload-Offset",
    "X-Request-Id",
)


class CrossOrigin(CORSMiddleware):
    """Lets pages of these origins read answers.

    Cookies are never allowed: a page sends an API key, which it must have from its user.
    """

    def __init__(self, app: ASGIApp, *, origins: Collection[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=RESPONSE_HEADERS,
            allow_credentials=False,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight request, with a problem document if it is refused."""
        if scope["type"] == "http" and _is_preflight(scope):
            response: Response = self.preflight_response(Headers(scope=scope))
            if response.status_code != 200:
                refusal = problem_of(HTTPConnection(scope), Forbidden(_text(response)))
                refusal.headers["Vary"] = response.headers["Vary"]
                response = refusal
            await response(scope, receive, send)
            return
        await super().__call__(scope, receive, send)


def _is_preflight(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return (
        scope["method"] == "OPTIONS"
        and "origin" in headers
        and "access-control-request-method" in headers
    )


def _text(response: Response) -> str:
    refused = bytes(response.body).decode().removeprefix("Disallowed CORS ")
    return f"The service refuses this request from another origin because of its {refused}."
