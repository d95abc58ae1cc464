"""An archive that a request brings: in its body, or as an upload that it names."""

from typing import Annotated

from fastapi import Query, Request
from starlette.concurrency import run_in_threadpool

from api.http.bodies.archive_body import Inspect, ReceivedArchive, receive_archive
from core.domain.datasets.archive import HEAD_BYTES, format_of
from core.domain.values import UploadId
from core.errors import FieldInvalid
from core.ports import Platform
from core.use_cases.imports.uploads import join_parts, upload_pieces

UploadQuery = Annotated[
    str | None,
    Query(max_length=100, description="Import this whole upload; the request has no body."),
]


def declared_length(request: Request) -> int:
    """Return how many bytes a request says that its body has, 0 if it does not say."""
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isdigit() else 0


async def sent_archive(
    request: Request, platform: Platform, upload: str | None, inspect: Inspect | None = None
) -> ReceivedArchive:
    """Return the stored archive of a request. Raises what storing either of the two raises.

    What `inspect` refuses is not stored.
    """
    if upload is None:
        return await receive_archive(request, platform.artifacts, inspect)
    await require_no_body(request, "upload")
    return await run_in_threadpool(_join, platform, UploadId(upload), inspect)


async def require_no_body(request: Request, source: str) -> None:
    """Raise FieldInvalid if a request brings a body beside the parameter `source`."""
    async for piece in request.stream():
        if piece:
            raise FieldInvalid(
                "Send an archive or say where it is, not both.", pointer=f"#query/{source}"
            )


def _join(platform: Platform, upload: UploadId, inspect: Inspect | None) -> ReceivedArchive:
    if inspect is not None:
        first = bytearray()
        pieces = upload_pieces(platform, upload)
        for piece in pieces:
            first += piece
            if inspect(bytes(first), False):
                break
        else:
            inspect(bytes(first), True)
    digest, size, head = join_parts(platform, upload)
    return ReceivedArchive(digest=digest, format=format_of(head[:HEAD_BYTES]), size=size)
