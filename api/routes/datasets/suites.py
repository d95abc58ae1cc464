"""Routes of suites."""

from fastapi import APIRouter, Response

from api.dependencies import WiredServices
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from api.openapi_document import raises
from api.schemas.common import After, Limit, Page, page_of
from api.schemas.datasets.suites import NewSuite, SuiteView
from core import errors
from core.domain.access.roles import Role
from core.domain.recipes.prompt import PromptTemplate
from core.use_cases.datasets.suites import create_suite

router = APIRouter(prefix="/v1/suites", tags=["suites"], route_class=ThreadRoute)


@router.post(
    "",
    status_code=201,
    responses=raises(
        errors.NameInvalid,
        errors.PromptInvalid,
        errors.NameTaken,
        errors.DatasetNotFound,
        errors.DatasetVersionNotFound,
        errors.ImageInTraining,
    ),
    openapi_extra=needs(Role.OPERATOR),
)
def make_suite(body: NewSuite, services: WiredServices, response: Response) -> SuiteView:
    """Create a suite from all images of a dataset version; they can no longer be trained on."""
    suite = create_suite(
        services.platform,
        name=body.name,
        kind=body.kind,
        dataset=body.dataset,
        dataset_version=body.dataset_version,
        prompt=PromptTemplate(body.prompt),
    )
    response.headers["Location"] = f"/v1/suites/{suite.name}"
    return SuiteView.of(suite)


@router.get("", openapi_extra=needs(Role.VIEWER))
def list_suites(services: WiredServices, limit: Limit = 50, after: After = None) -> Page[SuiteView]:
    """List suites, oldest first."""
    with services.platform.transactions(read_only=True) as work:
        rows = work.suites.page(limit + 1, after)
    return page_of(rows, limit, SuiteView.of, lambda row: row.id)


@router.get("/{suite}", responses=raises(errors.SuiteNotFound), openapi_extra=needs(Role.VIEWER))
def get_suite(suite: str, services: WiredServices) -> SuiteView:
    """Return a suite."""
    with services.platform.transactions(read_only=True) as work:
        return SuiteView.of(work.suites.get(suite))
