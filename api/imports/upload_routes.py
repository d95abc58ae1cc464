"""Routes of resumable uploads, after the tus protocol."""

from datetime import datetime
from typing import Annotated

from fastapi import Header, Request, Response
from pydantic import BeforeValidator, Field
from starlette.concurrency import run_in_threadpool

from api.dependencies import WiredServices
from api.http import tus
from api.http.bodies import PART_TYPE
from api.http.routing import Routes, ThreadRoute
from api.http.schemas import ResponseModel, whole_number
from api.openapi_document import binary
from core import errors
from core.datasets.uploads import require_room
from core.imports import uploads
from core.principal import Role
from core.values import UploadId

router = Routes(prefix="/v1/uploads", tags=["uploads"], route_class=ThreadRoute)

_MOST = 9_999_999_999  # ten digits, as of every number in a request's head

Version = Annotated[str | None, Header(alias="Tus-Resumable", description="1.0.0")]

Length = Annotated[
    int, Header(alias="Upload-Length", ge=1, le=_MOST), BeforeValidator(whole_number)
]

Offset = Annotated[
    int, Header(alias="Upload-Offset", ge=0, le=_MOST), BeforeValidator(whole_number)
]

Checksum = Annotated[
    str | None,
    Header(
        alias="Upload-Checksum",
        description="`sha1` or `sha256`, a blank, and the part's digest in base64.",
    ),
]


class UploadProgressView(ResponseModel):
    """A resumable upload."""

    id: str = Field(examples=["up_0199c2a4e1b7d3f4a5b6c7d8e9f0"])
    length: int
    offset: int = Field(description="Bytes that have arrived.")
    created_at: datetime
    expires_at: datetime


@router.options("", Role.CONTRIBUTOR, status_code=204)
def describe_uploads(services: WiredServices, response: Response) -> None:
    """Say which parts of the tus protocol uploads know."""
    response.headers["Tus-Resumable"] = response.headers["Tus-Version"] = tus.VERSION
    response.headers["Tus-Extension"] = tus.EXTENSIONS
    response.headers["Tus-Max-Size"] = str(services.platform.settings.max_upload_bytes)
    response.headers["Tus-Checksum-Algorithm"] = ",".join(tus.ALGORITHMS)


@router.post(
    "",
    Role.CONTRIBUTOR,
    errors.TusVersion,
    errors.BodyTooLarge,
    errors.TooManyUploads,
    errors.StorageFull,
    status_code=201,
)
def create_upload(
    services: WiredServices, response: Response, length: Length, version: Version = None
) -> UploadProgressView:
    """Create an upload of a length, whose parts are sent by PATCH to its `Location`."""
    tus.require_version(version)
    require_room(services.platform)
    made = uploads.create_upload(services.platform, length=length)
    response.headers.update(tus.headers_of(made))
    response.headers["Location"] = f"/v1/uploads/{made.id}"
    return UploadProgressView.of(made)


@router.get("/{upload}", Role.CONTRIBUTOR, errors.UploadNotFound, errors.UploadExpired)
def get_upload(upload: str, services: WiredServices, response: Response) -> UploadProgressView:
    """Return how much of an upload has arrived; HEAD says it in headers."""
    found = uploads.find_upload(services.platform, UploadId(upload))
    response.headers.update(tus.headers_of(found))
    return UploadProgressView.of(found)


@router.patch(
    "/{upload}",
    Role.CONTRIBUTOR,
    errors.TusVersion,
    errors.UploadNotFound,
    errors.UploadExpired,
    errors.OffsetMismatch,
    errors.ChecksumMismatch,
    errors.TooManyParts,
    errors.StorageFull,
    status_code=204,
    openapi_extra=binary(PART_TYPE),
)
async def append_to_upload(
    upload: str,
    request: Request,
    response: Response,
    services: WiredServices,
    offset: Offset,
    version: Version = None,
    checksum: Checksum = None,
) -> None:
    """Add the bytes of a part; what has arrived of it stays, even if the connection breaks."""
    tus.require_version(version)
    platform = services.platform
    await run_in_threadpool(require_room, platform)
    found = await run_in_threadpool(uploads.find_upload, platform, UploadId(upload))
    found.require_offset(offset)
    part, size, cut = await tus.receive_part(request, platform.artifacts, found, checksum)
    if size:
        found = await run_in_threadpool(uploads.extend_upload, platform, found, part, size)
    if cut is not None:
        raise cut
    response.headers.update(tus.headers_of(found))


@router.delete(
    "/{upload}", Role.CONTRIBUTOR, errors.TusVersion, errors.UploadNotFound, status_code=204
)
def delete_upload(
    upload: str, services: WiredServices, response: Response, version: Version = None
) -> None:
    """Delete an upload."""
    tus.require_version(version)
    uploads.delete_upload(services.platform, UploadId(upload))
    response.headers["Tus-Resumable"] = tus.VERSION
