"""Admission control for the inference process: the key, body sizes and concurrency."""

import secrets

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import BodyTooLarge, InferenceBusy, Malformed, PerennialError, Unauthorised
from worker.inference.problems import problem

OPEN_PATH = "/healthz"
MAX_REQUESTS = 32  # in progress: being read, waiting or being answered
MAX_BYTES = 512 * 1024 * 1024  # of the bodies of all requests in progress


class AdmissionControl:
    """Admits requests that carry the key, declare their length and fit within the limits.

    It refuses a request without reading its body: if the key is missing (as in a web page's post),
    if the body is too large or chunked, or if too many requests are in progress.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        key: str,
        max_body_bytes: int,
        max_requests: int = MAX_REQUESTS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._app = app
        self._key = key.encode()
        self._max_body_bytes = max_body_bytes
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._requests = 0
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http" or scope["path"] == OPEN_PATH:
            await self._app(scope, receive, send)
            return
        try:
            headers = Headers(scope=scope)
            self._require_key(headers)
            size = self._length(headers)
            self._require_room(size)
        except PerennialError as fault:
            await problem(fault)(scope, receive, send)
            return
        self._requests += 1
        self._bytes += size
        try:
            await self._app(scope, receive, send)
        finally:
            self._requests -= 1
            self._bytes -= size

    def _require_key(self, headers: Headers) -> None:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secrets.compare_digest(key.encode(), self._key):
            raise Unauthorised("The request's key is not PERENNIAL_INFERENCE_KEY.")

    def _length(self, headers: Headers) -> int:
        if "transfer-encoding" in headers:
            raise Malformed("Send Content-Length, not Transfer-Encoding.")
        size = int(headers.get("content-length", "0"))
        if size > self._max_body_bytes:
            raise BodyTooLarge(f"The body is larger than {self._max_body_bytes:,} bytes.")
        return size

    def _require_room(self, size: int) -> None:
        if self._requests >= self._max_requests or self._bytes + size > self._max_bytes:
            raise InferenceBusy
