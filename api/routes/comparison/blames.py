"""Route of the reports of blames: which images of an update cost a class its accuracy."""

from typing import Annotated

from fastapi import APIRouter, Header
from starlette.responses import Response

from api.dependencies import WiredServices
from api.http.content_negotiation import preferred
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from api.openapi_document import raises
from api.pages.csv_text import CSV, CSV_CONTENT, csv_text
from api.schemas.comparison.group_blame import BlameReportView
from core import errors
from core.domain.access.roles import Role
from core.domain.values import JobId
from core.use_cases.blame.blame_report import flat_rows, read_blame

router = APIRouter(tags=["versions"], route_class=ThreadRoute)

JSON = "application/json"
_COLUMNS = (
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


@router.get(
    "/v1/jobs/{job}/blame",
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
    response_model=BlameReportView,
    openapi_extra=needs(Role.VIEWER),
)
def get_blame_report(
    job: str,
    services: WiredServices,
    response: Response,
    accept: Annotated[str | None, Header()] = None,
) -> BlameReportView | Response:
    """Return what each class gains or loses without each group of images, as JSON or CSV."""
    report = read_blame(services.platform, JobId(job))
    vary = {"Vary": "Accept"}
    if preferred(accept, (JSON, CSV)) == CSV:
        table = csv_text(_COLUMNS, flat_rows(report))
        return Response(table, media_type=CSV, headers=vary)
    response.headers.update(vary)
    return BlameReportView.model_validate(report)
