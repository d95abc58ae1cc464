"""Routes that compare versions: flips, differences and blame."""

from typing import Annotated, Any

from fastapi import APIRouter, Header
from starlette.responses import Response

from api.dependencies import WiredServices
from api.http.content_negotiation import preferred
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from api.openapi_document import raises
from api.pages.comparison_table import comparison_csv
from api.pages.csv_text import CSV, CSV_CONTENT
from api.schemas.common import Limit, VersionNumber, page_of
from api.schemas.comparison.blame import BlameView, ClassName, VersionQuery
from api.schemas.comparison.differences import ComparisonView, TwoVersions
from api.schemas.comparison.flips import (
    AfterFlip,
    Against,
    FlipPage,
    FlipView,
    OptionalClass,
    SuiteName,
    VersionRef,
    flip_after,
)
from core import errors
from core.domain.access.roles import Role
from core.domain.comparison.flips import FlipKind
from core.use_cases.evaluation.blame_updates import blame_updates
from core.use_cases.evaluation.compare_versions import compare_versions, flips_since

router = APIRouter(prefix="/v1/models/{model}", tags=["versions"], route_class=ThreadRoute)

JSON = "application/json"
_REFUSALS = (errors.ModelNotFound, errors.VersionNotFound, errors.AnswersMissing)
_COMPARISONS: dict[int | str, dict[str, Any]] = {
    200: {"content": CSV_CONTENT},
    **raises(*_REFUSALS, errors.NotAcceptable),
}


@router.get(
    "/versions/{version}/flips", responses=raises(*_REFUSALS), openapi_extra=needs(Role.VIEWER)
)
def list_flips(
    model: str,
    version: VersionNumber,
    services: WiredServices,
    against: Against = "parent",
    suite: SuiteName = None,
    kind: FlipKind | None = None,
    class_name: OptionalClass = None,
    limit: Limit = 50,
    after: AfterFlip = None,
) -> FlipPage:
    """List the images that one of two versions answered right and the other wrong."""
    start = flip_after(after)
    before, now, found = flips_since(services.platform, model, version, against)
    wanted = [
        flip
        for flip in found
        if flip.key > start
        and suite in {None, flip.name}
        and kind in {None, flip.kind}
        and (class_name is None or (flip.class_name or "").lower() == class_name.lower())
    ]
    page = page_of(wanted, limit, FlipView.of, lambda flip: ":".join(flip.key))
    return FlipPage(
        before=VersionRef.of(before),
        now=VersionRef.of(now),
        data=page.data,
        has_more=page.has_more,
        next=page.next,
    )


@router.get(
    "/compare",
    responses=_COMPARISONS,
    response_model=ComparisonView,
    openapi_extra=needs(Role.VIEWER),
)
def get_comparison(
    model: str,
    versions: TwoVersions,
    services: WiredServices,
    response: Response,
    accept: Annotated[str | None, Header()] = None,
) -> ComparisonView | Response:
    """Compare two versions by their answers to the same test images, as JSON or CSV."""
    wanted = preferred(accept, (JSON, CSV))
    before, now = map(int, versions.split(","))
    found = compare_versions(services.platform, model, before, now)
    vary = {"Vary": "Accept"}
    if wanted == CSV:
        return Response(comparison_csv(found.comparison), media_type=CSV, headers=vary)
    response.headers.update(vary)
    return ComparisonView.of(found)


@router.get(
    "/blame",
    responses=raises(*_REFUSALS, errors.AliasNotFound, errors.ClassNotFound),
    openapi_extra=needs(Role.VIEWER),
)
def get_blame(
    model: str,
    class_name: ClassName,
    services: WiredServices,
    version: VersionQuery = None,
) -> BlameView:
    """Return a class's accuracy along the line of a version, and the update after which it fell.

    Without `version`, that is the line of what `production` points to.
    """
    return BlameView.of(*blame_updates(services.platform, model, class_name, version))
