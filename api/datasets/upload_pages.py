"""The form that adds images to a dataset: from a script in batches, or as it is."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from fastapi import Request
from fastapi.concurrency import contextmanager_in_threadpool
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from api.dependencies import CurrentPrincipal, IdempotencyKey, Services
from api.http.forms import Form, dataset_to_fill, decode_upload, receive_form, store_uploads
from api.http.routing import PAGES, Routes
from api.pages.browsing import PageRoute
from api.pages.forms import TOKEN, require_token
from api.pages.rendering import HEADERS, PageRequest, takes_json
from core.artifacts.store import ArtifactBatch
from core.datasets.receive import BatchKey, record_uploads, require_unused
from core.datasets.rules import Dataset, DatasetKind
from core.datasets.uploads import Receipt, Upload, UploadOutcome, clean_text
from core.errors import FieldInvalid
from core.principal import Role
from core.values import canonical_json, sha256

router = Routes(
    prefix=f"{PAGES}/datasets/{{dataset}}/images", route_class=PageRoute, include_in_schema=False
)

TEXT = "text"  # the field with the class or the caption of all files


@router.post("", Role.CONTRIBUTOR)
async def add_images(
    dataset: str, asked: PageRequest, principal: CurrentPrincipal, key: IdempotencyKey = None
) -> Response:
    """Add the files of a form: all to the class in a field, or each to the class it is named after.

    A form that is sent again under its Idempotency-Key adds nothing.
    """
    found = await run_in_threadpool(dataset_to_fill, asked.services, dataset)
    async with contextmanager_in_threadpool(asked.platform.artifacts.batch()) as images:
        form = await receive_form(
            asked.request,
            asked.services,
            partial(decode_upload, asked.services, images, found.kind),
            fields=[TOKEN, TEXT],
        )
        require_token(asked.request, form.fields.get(TOKEN, ""))
        uploads = _uploads(found.kind, form)
        batch = _batch(asked.request, principal.name, key, form)
        receipts = await run_in_threadpool(_record, asked.services, images, found, uploads, batch)
    if takes_json(asked.request):
        return JSONResponse([receipt.to_json() for receipt in receipts], headers=HEADERS)
    return asked.page(
        "datasets/uploaded.html",
        status=200 if any(receipt.accepted for receipt in receipts) else 422,
        dataset=found,
        receipts=receipts,
        counts=Counter(receipt.outcome.value for receipt in receipts),
        outcomes=[outcome.value for outcome in UploadOutcome],
    )


def _uploads(kind: DatasetKind, form: Form[Upload]) -> list[Upload]:
    """Return the files of a form with their texts. Raises FieldInvalid or ClassInvalid."""
    if not form.files:
        raise FieldInvalid("Choose at least one image.", pointer="/images")
    if TEXT not in form.fields:
        return form.files
    text = clean_text(kind, form.fields[TEXT])
    return [replace(upload, text=text) for upload in form.files]


def _batch(request: Request, actor: str, key: str | None, form: Form[Upload]) -> BatchKey | None:
    if key is None:
        return None
    sent = [part for part in form.fingerprint if part[0] != TOKEN or part[1] is not None]
    return BatchKey(actor=actor, key=key, body=sha256(canonical_json([request.url.path, sent])))


def _record(
    services: Services,
    images: ArtifactBatch,
    dataset: Dataset,
    uploads: Sequence[Upload],
    batch: BatchKey | None,
) -> list[Receipt]:
    if batch is not None:
        require_unused(services.platform, batch)
    store_uploads(services, images, uploads)
    return record_uploads(services.platform, dataset, uploads, batch)
