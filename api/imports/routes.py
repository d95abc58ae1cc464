"""Routes of imports: archives and objects that jobs import, and the reports of their files."""

from typing import Annotated, Any, Literal

from anyio.to_thread import run_sync
from fastapi import Depends, Header, Query, Response
from starlette.concurrency import run_in_threadpool

from api.dependencies import Services, WiredServices
from api.http.answers import CSV, CSV_CONTENT, csv_text, preferred
from api.http.bodies import (
    ARCHIVE_TYPES,
    UploadQuery,
    declared_length,
    require_no_body,
    sent_archive,
)
from api.http.routing import Routes, ThreadRoute, raises
from api.jobs.routes import ORDER_ERRORS, PlacedOrder
from api.jobs.schemas import JobView
from api.openapi_document import binary
from core import errors
from core.archives.rules import BucketFolder
from core.datasets.columns import MOST_NAME, WantedColumns
from core.datasets.rows import Datasets
from core.datasets.uploads import require_room
from core.imports.import_images import file_report, flat_rows
from core.imports.order import order_bucket_import, order_import
from core.jobs.orders import ImportImagesOrder
from core.principal import Role
from core.values import DatasetId, JobId

router = Routes(tags=["imports"], route_class=ThreadRoute)

JSON_LINES = "application/x-ndjson"
_COLUMNS = ("file", "text", "outcome", "pixels", "side", "near_duplicate_of", "code", "detail")

_REPORTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {JSON_LINES: {"schema": {"type": "string"}}, **CSV_CONTENT}},
    **raises(
        errors.JobNotFound,
        errors.FileReportNotFound,
        errors.ArtifactMissing,
        errors.ArtifactCorrupt,
        errors.NotAcceptable,
    ),
}

ValidateOnly = Annotated[
    Literal["true", "false"],
    Query(description="Only report what would become of each file; the dataset does not change."),
]

S3Query = Annotated[
    str | None,
    Query(
        max_length=1200,
        pattern="^s3://[^/]",
        description="Import the objects that lie below this prefix of a bucket now; the request "
        "has no body. The service's operator names the buckets that imports may read.",
        examples=["s3://photos/products"],
    ),
]

_COLUMN = {"max_length": MOST_NAME, "min_length": 1}


def _columns(
    image_column: Annotated[
        str | None,
        Query(**_COLUMN, description="Of Parquet files. Null: found by its name and type."),
    ] = None,
    label_column: Annotated[
        str | None,
        Query(**_COLUMN, description="The classes of a labelled dataset. Null: found likewise."),
    ] = None,
    caption_column: Annotated[
        str | None,
        Query(**_COLUMN, description="The captions of a captioned one. Null: found likewise."),
    ] = None,
) -> WantedColumns:
    return WantedColumns(
        image_column=image_column, label_column=label_column, caption_column=caption_column
    )


Columns = Annotated[WantedColumns, Depends(_columns)]


@router.post(
    "/v1/datasets/{dataset}/imports",
    Role.CONTRIBUTOR,
    errors.DatasetNotFound,
    errors.UnsupportedArchive,
    errors.UploadNotFound,
    errors.UploadExpired,
    errors.UploadIncomplete,
    errors.BucketNotAllowed,
    errors.BucketUnavailable,
    errors.ArchiveEmpty,
    errors.ArchiveUnsafe,
    errors.ArchiveTooBig,
    errors.StorageFull,
    *ORDER_ERRORS,
    status_code=202,
    openapi_extra=binary(*ARCHIVE_TYPES, required=False),
)
async def import_images(
    dataset: str,
    ordering: PlacedOrder,
    columns: Columns,
    validate_only: ValidateOnly = "false",
    upload: UploadQuery = None,
    s3: S3Query = None,
) -> JobView:
    """Order the import of a zip, tar or tar.gz of images, a Parquet file, or objects in a bucket.

    An archive is the request's body, or an upload. Archives and buckets may hold Parquet files.
    """
    services, request = ordering.services, ordering.request
    if s3 is not None:
        if upload is not None:
            raise errors.FieldInvalid("Name an upload or a bucket, not both.", pointer="#query/s3")
        await require_no_body(request, "s3")
        wanted = {"s3": s3, "validate_only": validate_only == "true", **vars(columns)}
        platform, notifier, ordered_by = ordering.of(wanted)

        def listed() -> JobView:
            job = order_bucket_import(
                platform,
                notifier,
                services.buckets,
                ordered_by,
                dataset=dataset,
                folder=BucketFolder.of(s3),
                validate_only=validate_only == "true",
                columns=columns,
            )
            return ordering.accepted(job)

        return await run_sync(listed, limiter=services.listing)
    arriving = declared_length(request)
    found = await run_in_threadpool(_find, services, dataset, columns, arriving)
    archive = await sent_archive(request, services.platform, upload)
    order = ImportImagesOrder(
        dataset=found,
        archive=archive.digest,
        archive_format=archive.format,
        archive_bytes=archive.size,
        validate_only=validate_only == "true",
        **vars(columns),
    )
    body = {"archive": order.archive, "validate_only": order.validate_only, **vars(columns)}

    def ordered() -> JobView:
        return ordering.accepted(order_import(*ordering.of(body), order))

    return await run_in_threadpool(ordered)


@router.get("/v1/jobs/{job}/report", Role.VIEWER, responses=_REPORTS, response_class=Response)
def get_file_report(
    job: str, services: WiredServices, accept: Annotated[str | None, Header()] = None
) -> Response:
    """Return what became of each file of an import: in JSON Lines, or as CSV by `Accept`."""
    found = file_report(services.platform, JobId(job))
    media_type = preferred(accept, [JSON_LINES, CSV])
    report = services.platform.artifacts.get(found)
    body = csv_text(_COLUMNS, flat_rows(report)) if media_type == CSV else report
    headers = {"Vary": "Accept", "Content-Disposition": f'attachment; filename="{job}-report"'}
    return Response(body, media_type=media_type, headers=headers)


def _find(services: Services, dataset: str, columns: WantedColumns, arriving: int) -> DatasetId:
    require_room(services.platform, arriving)
    with services.platform.transactions(read_only=True) as work:
        found = work[Datasets].get(dataset)
    columns.require_for(found.kind)
    return found.id
