"""Routes of gate policies."""

from fastapi import APIRouter, Response

from api.dependencies import WiredServices
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from api.openapi_document import raises
from api.schemas.common import After, Limit, Page, page_of
from api.schemas.datasets.suites import NewPolicy, PolicyView
from core import errors
from core.domain.access.roles import Role
from core.domain.values import PolicyId, new_id
from core.use_cases.datasets.suites import create_policy

router = APIRouter(prefix="/v1/gate-policies", tags=["suites"], route_class=ThreadRoute)


@router.post(
    "",
    status_code=201,
    responses=raises(errors.NameInvalid, errors.NameTaken),
    openapi_extra=needs(Role.ADMIN),
)
def make_policy(body: NewPolicy, services: WiredServices, response: Response) -> PolicyView:
    """Create a gate policy, which sets how much a version may forget before the gate fails it."""
    now = services.platform.clock()
    policy = create_policy(services.platform, body.policy(PolicyId(new_id("gate", now)), now))
    response.headers["Location"] = f"/v1/gate-policies/{policy.name}"
    return PolicyView.of(policy)


@router.get("", openapi_extra=needs(Role.VIEWER))
def list_policies(
    services: WiredServices, limit: Limit = 50, after: After = None
) -> Page[PolicyView]:
    """List gate policies, oldest first."""
    with services.platform.transactions(read_only=True) as work:
        rows = work.policies.page(limit + 1, after)
    return page_of(rows, limit, PolicyView.of, lambda row: row.id)


@router.get("/{policy}", responses=raises(errors.PolicyNotFound), openapi_extra=needs(Role.VIEWER))
def get_policy(policy: str, services: WiredServices) -> PolicyView:
    """Return a gate policy."""
    with services.platform.transactions(read_only=True) as work:
        return PolicyView.of(work.policies.get(policy))
