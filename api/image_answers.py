"""Answers with stored images, whole or as thumbnails, which never change."""

from anyio.to_thread import run_sync
from starlette.responses import Response

from api.dependencies import Services
from api.http.preconditions import matches_etag
from core.domain.values import Digest

WEBP = "image/webp"


def image_answer(services: Services, artifact: Digest, if_none_match: str | None) -> Response:
    """Return an image as it is stored; 304 if the client has it."""
    headers = _immutable(artifact)
    if matches_etag(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    data = services.platform.artifacts.get(artifact)
    return Response(data, headers=headers, media_type=WEBP)


async def thumbnail_answer(
    services: Services, artifact: Digest, if_none_match: str | None
) -> Response:
    """Return a small WebP of an image; 304 if the client has it."""
    headers = _immutable(f"{artifact}-thumbnail")
    if matches_etag(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)

    def shrink() -> bytes:
        return services.decoder.preview(services.platform.artifacts.get(artifact))

    data = await run_sync(shrink, limiter=services.decoding)
    return Response(data, headers=headers, media_type=WEBP)


def _immutable(tag: str) -> dict[str, str]:
    """Return the headers of bytes that never change: their path names the image's pixels."""
    return {"ETag": f'"{tag}"', "Cache-Control": "private, max-age=31536000, immutable"}
