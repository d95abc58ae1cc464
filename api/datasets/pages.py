"""Pages of a dataset version: its images, and what changed since another version."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import contextmanager_in_threadpool
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse, Response

from api.datasets.schemas import Pixels
from api.dependencies import CurrentPrincipal, IdempotencyKey, Services, WiredServices
from api.http.answers import IfNoneMatch, image_answer, thumbnail_answer
from api.http.forms import Form, dataset_to_fill, decode_upload, receive_form, store_uploads
from api.http.routing import PAGES, needs
from api.http.schemas import After as schemas_After
from api.http.schemas import Number, VersionNumber
from api.pages.browsing import PageRoute
from api.pages.rendering import (
    HEADERS,
    TOKEN,
    page,
    read_form,
    require_token,
    short_field,
    takes_json,
)
from core.artifacts.store import ArtifactBatch
from core.datasets.edit import (
    Receipt,
    Upload,
    UploadOutcome,
    clean_text,
    create_dataset,
    stored_form_anywhere,
)
from core.datasets.freeze import freeze_version, read_manifest
from core.datasets.manifests import ChangeKind, DatasetStatistics, Diff, Manifest
from core.datasets.receive import BatchKey, record_batch, require_unused
from core.datasets.rows import Datasets
from core.datasets.rules import Dataset, DatasetKind, DatasetVersion
from core.errors import FieldInvalid, PerennialError
from core.principal import Role
from core.registry.rows import Models
from core.values import Digest, canonical_json, sha256

# The page of a dataset: what it holds now, and its versions.


router = APIRouter(
    prefix=f"{PAGES}/datasets/{{dataset}}", route_class=PageRoute, include_in_schema=False
)

CLASSES, VERSIONS = 100, 20  # of a page; newest

READ_AT_ONCE = 20_000  # images of which statistics are shown without asking: each is read

ClassName = Annotated[str, Query(max_length=500)]


@router.get("", openapi_extra=needs(Role.VIEWER))
def show_dataset(dataset: str, request: Request, services: WiredServices) -> Response:
    """Show a dataset."""
    return _show(request, services, dataset)


@router.get("/statistics", openapi_extra=needs(Role.VIEWER))
def show_statistics(
    dataset: str, request: Request, services: WiredServices, after: ClassName = ""
) -> Response:
    """Show how many images of each class are on each side, and how many look alike."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Datasets].get(dataset)
        labelled = found.kind is DatasetKind.LABELLED
        counted = DatasetStatistics.of(work[Datasets].members(found.id), labelled=labelled)
    later = [name for name in counted.classes if name > after]
    return page(
        request,
        "datasets/statistics.html",
        dataset=found,
        labelled=labelled,
        counted=counted,
        classes=later[:CLASSES],
        after=after,
        next=later[CLASSES - 1] if len(later) > CLASSES else None,
    )


@router.post("/versions", openapi_extra=needs(Role.CONTRIBUTOR))
async def freeze(dataset: str, request: Request, services: WiredServices) -> Response:
    """Freeze the present images into a version, unless the newest has the same, and show it."""
    await read_form(request)
    frozen = partial(freeze_version, services.platform, dataset, if_changed=True)
    try:
        version = await run_in_threadpool(frozen)
    except PerennialError as refusal:
        return await run_in_threadpool(_show, request, services, dataset, refusal=refusal)
    return RedirectResponse(f"{PAGES}/datasets/{dataset}/versions/{version.number}", 303)


def _show(
    request: Request,
    services: Services,
    dataset: str,
    *,
    refusal: PerennialError | None = None,
) -> Response:
    platform = services.platform
    with platform.transactions(read_only=True) as work:
        found = work[Datasets].get(dataset)
        counts = work[Datasets].count(found.id)
        versions = work[Datasets].versions(found.id)
        taught = work[Models].taught([found.id]).get(found.id, ())
    return page(
        request,
        "datasets/dataset.html",
        dataset=found,
        labelled=found.kind is DatasetKind.LABELLED,
        images=sum(counts.values()),
        counts=counts,
        read_at_once=READ_AT_ONCE,
        classes=list(islice(counts, CLASSES)),
        versions=versions[: -VERSIONS - 1 : -1],
        taught=taught,
        settings=platform.settings,
        refusal=refusal,
        now=platform.clock(),
    )


# The page of datasets, and the form that makes one.


dataset_list_router = APIRouter(
    prefix=f"{PAGES}/datasets", route_class=PageRoute, include_in_schema=False
)

DATASETS = 25

LONGEST_DESCRIPTION = 500  # characters


@dataset_list_router.get("", openapi_extra=needs(Role.VIEWER))
def show_datasets(
    request: Request, services: WiredServices, after: schemas_After = None
) -> Response:
    """Show datasets, oldest first."""
    return _dataset_list_show(request, services, after=after)


@dataset_list_router.post("", openapi_extra=needs(Role.CONTRIBUTOR))
async def make_dataset(request: Request, services: WiredServices) -> Response:
    """Make an empty dataset, and show it."""
    fields = await read_form(request)
    try:
        made = await run_in_threadpool(
            create_dataset,
            services.platform,
            fields.get("name", ""),
            _kind(fields),
            description=short_field(fields, "description", LONGEST_DESCRIPTION),
        )
    except PerennialError as refusal:
        return await run_in_threadpool(
            _dataset_list_show, request, services, fields=fields, refusal=refusal
        )
    return RedirectResponse(f"{PAGES}/datasets/{made.name}", 303)


def _dataset_list_show(
    request: Request,
    services: Services,
    *,
    after: str | None = None,
    fields: Mapping[str, str] | None = None,
    refusal: PerennialError | None = None,
) -> Response:
    """Return the page; after a refusal, with what was sent and why it is refused."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Datasets].page(DATASETS + 1, after)
        shown = found[:DATASETS]
        ids = [dataset.id for dataset in shown]
        newest = work[Datasets].newest_versions(ids)
        taught = work[Models].taught(ids)
    return page(
        request,
        "datasets/list.html",
        rows=[(one, *newest.get(one.id, (None, 0)), taught.get(one.id, ())) for one in shown],
        first=after is None,
        next=shown[-1].id if len(found) > DATASETS else None,
        kinds=list(DatasetKind),
        fields=fields or {},
        longest=LONGEST_DESCRIPTION,
        refusal=refusal,
        now=services.platform.clock(),
    )


def _kind(fields: Mapping[str, str]) -> DatasetKind:
    try:
        return DatasetKind(fields.get("kind", DatasetKind.LABELLED))
    except ValueError as error:
        kinds = " or ".join(DatasetKind)
        raise FieldInvalid(f"kind must be {kinds}.", pointer="/kind") from error


# The form that adds images to a dataset: from a script in batches, or as it is.


uploads_router = APIRouter(
    prefix=f"{PAGES}/datasets/{{dataset}}/images", route_class=PageRoute, include_in_schema=False
)

TEXT = "text"  # the field with the class or the caption of all files


@uploads_router.post("", openapi_extra=needs(Role.CONTRIBUTOR))
async def add_images(
    dataset: str,
    request: Request,
    services: WiredServices,
    principal: CurrentPrincipal,
    key: IdempotencyKey = None,
) -> Response:
    """Add the files of a form: all to the class in a field, or each to the class it is named after.

    A form that is sent again under its Idempotency-Key adds nothing.
    """
    found = await run_in_threadpool(dataset_to_fill, services, dataset)
    async with contextmanager_in_threadpool(services.platform.artifacts.batch()) as images:
        form = await receive_form(
            request,
            services,
            partial(decode_upload, services, images, found.kind),
            fields=[TOKEN, TEXT],
        )
        require_token(request, form.fields.get(TOKEN, ""))
        uploads = _uploads(found.kind, form)
        batch = _batch(request, principal.name, key, form)
        receipts = await run_in_threadpool(_record, services, images, found, uploads, batch)
    if takes_json(request):
        return JSONResponse([receipt.to_json() for receipt in receipts], headers=HEADERS)
    return page(
        request,
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
    return record_batch(services.platform, services.decoder, dataset, uploads, batch)


version_router = APIRouter(
    prefix=f"{PAGES}/datasets/{{dataset}}/versions/{{version}}",
    route_class=PageRoute,
    include_in_schema=False,
)

IMAGES, CLASSES_OF_VERSION = 48, 300  # of a page; of the table

OfClass = Annotated[str, Query(alias="class", max_length=500)]

After = Annotated[str, Query(max_length=100)]


@version_router.get("", openapi_extra=needs(Role.VIEWER))
def show_version(
    dataset: str, version: VersionNumber, request: Request, services: WiredServices
) -> Response:
    """Show a version."""
    found, versions = _find(services, dataset)
    with services.platform.transactions(read_only=True) as work:
        frozen = work[Datasets].version(found.id, version)
    return page(
        request,
        "datasets/version.html",
        dataset=found,
        version=frozen,
        previous=max((one.number for one in versions if one.number < version), default=None),
        classes=frozen.classes[:CLASSES_OF_VERSION],
        now=services.platform.clock(),
    )


@version_router.get("/images", openapi_extra=needs(Role.VIEWER))
def show_images(
    dataset: str,
    version: VersionNumber,
    request: Request,
    services: WiredServices,
    of_class: OfClass = "",
    after: After = "",
) -> Response:
    """Show a page of the images of a class or of all."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Datasets].get(dataset)
        frozen = work[Datasets].version(found.id, version)
    images = [
        entry
        for entry in _read(services, frozen).entries
        if entry.pixels > after and of_class in {"", *entry.texts}
    ]
    return page(
        request,
        "datasets/version_images.html",
        dataset=found,
        version=frozen,
        of_class=of_class,
        after=after,
        images=images[:IMAGES],
        next=images[IMAGES - 1].pixels if len(images) > IMAGES else None,
    )


@version_router.get("/diff", openapi_extra=needs(Role.VIEWER))
def show_diff(
    dataset: str,
    version: VersionNumber,
    request: Request,
    services: WiredServices,
    against: Annotated[Number, Query()],
    after: After = "",
) -> Response:
    """Show which images a version added, removed and moved, compared with another one."""
    found, versions = _find(services, dataset)
    with services.platform.transactions(read_only=True) as work:
        new, old = (work[Datasets].version(found.id, number) for number in (version, against))
    diff = Diff.between(_read(services, old), _read(services, new))
    later = [change for change in diff.changes if change.pixels > after]
    return page(
        request,
        "datasets/diff.html",
        dataset=found,
        version=version,
        against=against,
        numbers=[one.number for one in versions],
        diff=diff,
        kinds=list(ChangeKind),
        classes=list(diff.classes.items())[:CLASSES_OF_VERSION],
        after=after,
        changes=later[:IMAGES],
        next=later[IMAGES - 1].pixels if len(later) > IMAGES else None,
    )


def _find(services: Services, dataset: str) -> tuple[Dataset, list[DatasetVersion]]:
    with services.platform.transactions(read_only=True) as work:
        found = work[Datasets].get(dataset)
        return found, list(work[Datasets].versions(found.id))


def _read(services: Services, version: DatasetVersion) -> Manifest:
    return read_manifest(services.platform.artifacts, version.manifest)


# Images of any dataset, for pages that name them by their pixels.


images_router = APIRouter(
    prefix=f"{PAGES}/images/{{pixels}}", route_class=PageRoute, include_in_schema=False
)


@images_router.get("", openapi_extra=needs(Role.VIEWER))
def get_image(
    pixels: Pixels, services: WiredServices, if_none_match: IfNoneMatch = None
) -> Response:
    """Return an image as it is stored."""
    artifact = stored_form_anywhere(services.platform, Digest(pixels))
    return image_answer(services, artifact, if_none_match)


@images_router.get("/thumbnail", openapi_extra=needs(Role.VIEWER))
async def get_thumbnail(
    pixels: Pixels, services: WiredServices, if_none_match: IfNoneMatch = None
) -> Response:
    """Return a small WebP of an image."""
    artifact = await run_in_threadpool(stored_form_anywhere, services.platform, Digest(pixels))
    return await thumbnail_answer(services, artifact, if_none_match)
