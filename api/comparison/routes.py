"""Routes that compare versions: flips, differences and blame."""

from typing import Annotated, Any

from fastapi import Header
from starlette.responses import Response

from api.comparison import schemas
from api.dependencies import WiredServices
from api.http.answers import CSV, CSV_CONTENT, csv_text, preferred
from api.http.routing import JSON, Routes, ThreadRoute, raises
from api.http.schemas import Limit, VersionNumber, page_of
from api.registry.report_pages import comparison_csv
from core import errors
from core.blame.blame_images import flat_rows, read_blame
from core.blame.updates import blame_updates
from core.comparison.answers import FlipKind
from core.comparison.compare import compare_versions, flips_since
from core.principal import Role
from core.values import JobId

router = Routes(tags=["versions"], route_class=ThreadRoute)


_BLAME_COLUMNS = (
    "class",
    "group",
    "name",
    "images",
    "tested",
    "right_before",
    "right",
    "gained",
    "lost",
    "difference",
    "lower",
    "upper",
    "clear",
)

_REFUSALS = (errors.ModelNotFound, errors.VersionNotFound, errors.AnswersMissing)

_COMPARISONS: dict[int | str, dict[str, Any]] = {
    200: {"content": CSV_CONTENT},
    **raises(*_REFUSALS, errors.NotAcceptable),
}


@router.get("/v1/models/{model}/versions/{version}/flips", Role.VIEWER, *_REFUSALS)
def list_flips(
    model: str,
    version: VersionNumber,
    services: WiredServices,
    against: schemas.Against = "parent",
    suite: schemas.SuiteName = None,
    kind: FlipKind | None = None,
    class_name: schemas.OptionalClass = None,
    limit: Limit = 50,
    after: schemas.AfterFlip = None,
) -> schemas.FlipPage:
    """List the images and captions that one of two versions answered right and the other wrong."""
    start = schemas.flip_after(after)
    before, now, found = flips_since(
        services.platform, model, version, against, kind=kind, suite=suite, class_name=class_name
    )
    later = [flip for flip in found if flip.key > start]
    page = page_of(later, limit, schemas.FlipView.of, lambda flip: ":".join(map(str, flip.key)))
    return schemas.FlipPage(
        **vars(page), before=schemas.VersionRef.of(before), now=schemas.VersionRef.of(now)
    )


@router.get(
    "/v1/models/{model}/compare",
    Role.VIEWER,
    responses=_COMPARISONS,
    response_model=schemas.ComparisonView,
)
def get_comparison(
    model: str,
    versions: schemas.TwoVersions,
    services: WiredServices,
    response: Response,
    accept: Annotated[str | None, Header()] = None,
) -> schemas.ComparisonView | Response:
    """Compare two versions by their answers to the same test images, as JSON or CSV."""
    wanted = preferred(accept, (JSON, CSV))
    before, now = map(int, versions.split(","))
    found = compare_versions(services.platform, model, before, now)
    vary = {"Vary": "Accept"}
    if wanted == CSV:
        return Response(comparison_csv(found.comparison), media_type=CSV, headers=vary)
    response.headers.update(vary)
    return schemas.comparison_view(found)


@router.get(
    "/v1/models/{model}/blame", Role.VIEWER, *_REFUSALS, errors.AliasNotFound, errors.ClassNotFound
)
def get_blame(
    model: str,
    class_name: schemas.ClassName,
    services: WiredServices,
    version: schemas.VersionQuery = None,
) -> schemas.BlameView:
    """Return a class's accuracy along the line of a version, and the update after which it fell.

    Without `version`, that is the line of what `production` points to.
    """
    found, last, blame = blame_updates(services.platform, model, class_name, version)
    return schemas.BlameView.of(blame, model=found.name, version=last.number, digest=last.digest)


@router.get(
    "/v1/jobs/{job}/blame",
    Role.VIEWER,
    responses={
        200: {"content": CSV_CONTENT},
        **raises(
            errors.JobNotFound,
            errors.BlameNotFound,
            errors.ArtifactMissing,
            errors.ArtifactCorrupt,
            errors.NotAcceptable,
        ),
    },
    response_model=schemas.BlameReportView,
)
def get_blame_report(
    job: str,
    services: WiredServices,
    response: Response,
    accept: Annotated[str | None, Header()] = None,
) -> schemas.BlameReportView | Response:
    """Return what each class gains or loses without each group of images, as JSON or CSV."""
    report = read_blame(services.platform, JobId(job))
    vary = {"Vary": "Accept"}
    if preferred(accept, (JSON, CSV)) == CSV:
        table = csv_text(_BLAME_COLUMNS, flat_rows(report))
        return Response(table, media_type=CSV, headers=vary)
    response.headers.update(vary)
    return schemas.BlameReportView.model_validate(report)
