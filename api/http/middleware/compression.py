"""Middleware that compresses answers."""

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp

LEAST_BYTES = 1024
LEVEL = 1  # of 9, as in nginx: higher ones take much longer and save little
# Of this service's answers alone: the base class prepares the list anew for each request.
EXCLUDED = (
    "application/octet-stream",
    "application/x-tar",
    "image/png",
    "image/webp",
    "text/event-stream",
)


class Compression(GZipMiddleware):
    """Compresses documents of 1 KiB or more with gzip, if the client accepts it.

    Downloads are left as they are, so that ranges of them can be requested; so are event streams,
    whose events must not wait for each other, and images, which are compressed already.
    """

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            app, minimum_size=LEAST_BYTES, compresslevel=LEVEL, exclude_content_types=EXCLUDED
        )
