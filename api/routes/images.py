"""Routes of the images of a dataset."""

from functools import partial
from itertools import groupby

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from api.dependencies import Services, WiredServices
from api.http.required_role import needs
from api.http.staging import Staging
from api.http.threadpool_route import ThreadRoute
from api.http.uploads import receive_form
from api.image_forms import UPLOAD_ERRORS, decode_upload
from api.openapi_document import multipart, raises
from api.schemas.common import After, Limit, Page, page_of
from api.schemas.datasets import ImageView, ReceiptView, UploadView
from core import errors
from core.domain.access.roles import Role
from core.domain.datasets.dataset import Dataset
from core.domain.values import Digest
from core.use_cases.datasets.datasets import Receipt, Upload, require_room
from core.use_cases.datasets.record_uploads import record_uploads

router = APIRouter(
    prefix="/v1/datasets/{dataset}/images", tags=["datasets"], route_class=ThreadRoute
)

CLASS_FORM = multipart(
    {},
    additionalProperties={"type": "array", "items": {"type": "string", "format": "binary"}},
    description="One file field per image, named after its class (or with its caption).",
)


@router.post(
    "",
    responses=raises(errors.DatasetNotFound, *UPLOAD_ERRORS),
    openapi_extra=CLASS_FORM | needs(Role.CONTRIBUTOR),
)
async def upload_images(dataset: str, request: Request, services: WiredServices) -> UploadView:
    """Add images to a dataset; each file gets a receipt, and a bad one does not stop the others."""
    found = await run_in_threadpool(_find, services, dataset)
    with Staging(services.platform.settings.home) as staging:
        form = await receive_form(
            request, services, partial(decode_upload, services, staging, found.kind)
        )
        receipts = await run_in_threadpool(_record, services, staging, found, form.files)
    return UploadView(data=[ReceiptView.of(receipt) for receipt in receipts])


@router.get("", responses=raises(errors.DatasetNotFound), openapi_extra=needs(Role.VIEWER))
def list_images(
    dataset: str, services: WiredServices, limit: Limit = 50, after: After = None
) -> Page[ImageView]:
    """List the images of a dataset, ordered by the digest of their pixels."""
    with services.platform.transactions(read_only=True) as work:
        found = work.datasets.get(dataset)
        rows = work.datasets.image_page(found.id, limit + 1, Digest(after) if after else None)
    images = [list(same) for _, same in groupby(rows, key=lambda row: row.image.pixels)]
    return page_of(images, limit, ImageView.of, lambda same: same[0].image.pixels)


def _find(services: Services, dataset: str) -> Dataset:
    require_room(services.platform)
    with services.platform.transactions(read_only=True) as work:
        return work.datasets.get(dataset)


def _record(
    services: Services, staging: Staging, dataset: Dataset, uploads: list[Upload]
) -> list[Receipt]:
    staging.store(services.platform.artifacts)
    return record_uploads(services.platform, services.decoder, dataset, uploads)
