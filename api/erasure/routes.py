"""Routes of erasures."""

from fastapi import Request

from api.dependencies import Services, WiredServices
from api.erasure.schemas import (
    CertificateView,
    ErasureView,
    IdentifiedImage,
    IdentifiedImages,
    NewErasure,
    erasure_view,
)
from api.http.forms import Part, data_of, receive_form
from api.http.routing import Routes, ThreadRoute
from api.http.schemas import After, Limit, Page, page_of
from api.inference.images import FIELDS
from api.jobs.routes import POLL_AFTER_S, PlacedOrder
from api.openapi_document import multipart
from core import errors
from core.erasure.order import Progress, certify, order_erasure, progress_of
from core.erasure.rows import Erasures
from core.jobs.orders import JobType
from core.principal import Role
from core.values import Digest, ErasureId, clean_file_label

router = Routes(prefix="/v1/erasures", tags=["erasures"], route_class=ThreadRoute)


@router.post(
    "",
    JobType.ERASE.role,
    errors.ImageNotFound,
    errors.FieldInvalid,
    errors.InProgress,
    errors.IdempotencyMismatch,
    errors.JobDeleted,
    status_code=202,
)
def order_image_erasure(body: NewErasure, ordering: PlacedOrder) -> ErasureView:
    """Erase images from all datasets and the store, and mark the versions that learned from them.

    Versions are trained again without the images, by updates that it orders. Aliases do not move.
    """
    erasure = order_erasure(
        *ordering.of(body.model_dump(mode="json")),
        images=[Digest(pixels) for pixels in body.images],
        reason=body.reason,
        retraining=body.retrain,
    )
    ordering.response.headers["Location"] = f"/v1/erasures/{erasure.id}"
    ordering.response.headers["Retry-After"] = str(POLL_AFTER_S)
    return erasure_view(_progress(ordering.services, erasure.id))


@router.post(
    "/digests",
    JobType.ERASE.role,
    errors.UnsupportedImage,
    errors.ImageCorrupt,
    errors.ImageTooLarge,
    errors.ImageAnimated,
    errors.FileTooLarge,
    errors.MalformedMultipart,
    errors.BodyTooLarge,
    errors.TooManyParts,
    openapi_extra=multipart({"images": FIELDS["images"]}),
)
async def identify_images(request: Request, services: WiredServices) -> IdentifiedImages:
    """Return the digests by which images are erased: those of their pixels as at an upload.

    Nothing is stored.
    """

    def identify(part: Part) -> IdentifiedImage:
        pixels = services.decoder.decode(data_of(part)).pixels
        return IdentifiedImage(file=clean_file_label(part.file_name), pixels=pixels)

    form = await receive_form(request, services, identify)
    return IdentifiedImages(data=form.files)


@router.get("", Role.ADMIN)
def list_erasures(
    services: WiredServices, limit: Limit = 50, after: After = None
) -> Page[ErasureView]:
    """List erasures, oldest first."""
    with services.platform.transactions(read_only=True) as work:
        rows = progress_of(work, work[Erasures].page(limit + 1, after))
    return page_of(rows, limit, erasure_view, lambda row: row.erasure.id)


@router.get("/{erasure}", Role.ADMIN, errors.ErasureNotFound)
def get_erasure(erasure: str, services: WiredServices) -> ErasureView:
    """Return an erasure, and how far it has come."""
    return erasure_view(_progress(services, ErasureId(erasure)))


@router.get("/{erasure}/certificate", Role.ADMIN, errors.ErasureNotFound, errors.ErasurePending)
def get_erasure_certificate(erasure: str, services: WiredServices) -> CertificateView:
    """Return what an erasure has taken back, what replaces what, and what it cannot reach."""
    return CertificateView(**certify(services.platform, ErasureId(erasure)))


def _progress(services: Services, erasure: ErasureId) -> Progress:
    with services.platform.transactions(read_only=True) as work:
        (progress,) = progress_of(work, [work[Erasures].get(erasure)])
    return progress
