"""Routes of the images of a dataset."""

from functools import partial

from fastapi import Request, Response
from fastapi.concurrency import contextmanager_in_threadpool
from starlette.concurrency import run_in_threadpool

from api.datasets.schemas import ImageView, OfClass, Pixels, ReceiptView, UploadView, image_views
from api.dependencies import Services, WiredServices
from api.http.answers import IfNoneMatch, image_answer, thumbnail_answer
from api.http.forms import (
    UPLOAD_ERRORS,
    dataset_to_fill,
    decode_upload,
    receive_form,
    store_uploads,
)
from api.http.routing import Routes, ThreadRoute
from api.http.schemas import After, Limit, Page, page_of
from api.openapi_document import multipart, stored_images
from core import errors
from core.artifacts.store import ArtifactBatch
from core.datasets.edit import remove_images, stored_form
from core.datasets.receive import record_uploads, require_accepted
from core.datasets.rows import Datasets
from core.datasets.rules import Dataset
from core.datasets.uploads import Receipt, Upload
from core.principal import Role
from core.values import Digest

router = Routes(prefix="/v1/datasets/{dataset}/images", tags=["datasets"], route_class=ThreadRoute)

_WEBP = stored_images(errors.DatasetNotFound, errors.ImageCorrupt, errors.ImageTooLarge)

CLASS_FORM = multipart(
    {},
    additionalProperties={"type": "array", "items": {"type": "string", "format": "binary"}},
    description="One file field per image, named after its class (or with its caption).",
)


@router.post("", Role.CONTRIBUTOR, errors.DatasetNotFound, *UPLOAD_ERRORS, openapi_extra=CLASS_FORM)
async def upload_images(dataset: str, request: Request, services: WiredServices) -> UploadView:
    """Add images to a dataset; each file gets a receipt, and a bad one does not stop the others."""
    found = await run_in_threadpool(dataset_to_fill, services, dataset)
    async with contextmanager_in_threadpool(services.platform.artifacts.batch()) as images:
        form = await receive_form(
            request, services, partial(decode_upload, services, images, found.kind)
        )
        receipts = await run_in_threadpool(_record, services, images, found, form.files)
    return UploadView(data=[ReceiptView.model_validate(receipt.to_json()) for receipt in receipts])


def _record(
    services: Services, images: ArtifactBatch, dataset: Dataset, uploads: list[Upload]
) -> list[Receipt]:
    store_uploads(services, images, uploads)
    return require_accepted(record_uploads(services.platform, dataset, uploads))


@router.get("", Role.VIEWER, errors.DatasetNotFound)
def list_images(
    dataset: str,
    services: WiredServices,
    of_class: OfClass = None,
    limit: Limit = 50,
    after: After = None,
) -> Page[ImageView]:
    """List the images of a dataset, ordered by the digest of their pixels."""
    last = Digest(after) if after else None
    with services.platform.transactions(read_only=True) as work:
        found = work[Datasets].get(dataset)
        views = image_views(
            work, work[Datasets].image_page(found.id, limit + 1, last, text=of_class)
        )
    return page_of(views, limit, lambda view: view, lambda view: view.pixels)


@router.delete(
    "/{pixels}",
    Role.CONTRIBUTOR,
    errors.DatasetNotFound,
    errors.ImageNotFound,
    errors.ImageFrozen,
    status_code=204,
)
def delete_image(dataset: str, pixels: Pixels, services: WiredServices) -> None:
    """Delete an image of a dataset that none of its versions holds."""
    remove_images(services.platform, dataset, [Digest(pixels)])


@router.get("/{pixels}", Role.VIEWER, responses=_WEBP, response_class=Response)
def get_image(
    dataset: str, pixels: Pixels, services: WiredServices, if_none_match: IfNoneMatch = None
) -> Response:
    """Return an image as it is stored: decoded, without metadata, as a lossless WebP."""
    artifact = stored_form(services.platform, Digest(pixels), dataset=dataset)
    return image_answer(services, artifact, if_none_match)


@router.get("/{pixels}/thumbnail", Role.VIEWER, responses=_WEBP, response_class=Response)
async def get_thumbnail(
    dataset: str, pixels: Pixels, services: WiredServices, if_none_match: IfNoneMatch = None
) -> Response:
    """Return a small WebP of an image, at most 256 pixels wide and high."""
    find = partial(stored_form, services.platform, Digest(pixels), dataset=dataset)
    artifact = await run_in_threadpool(find)
    return await thumbnail_answer(services, artifact, if_none_match)
