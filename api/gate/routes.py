"""Routes of suites and gate policies, by which the gate judges versions."""

from fastapi import Response

from api.dependencies import WiredServices
from api.gate.schemas import NewPolicy, NewSuite, PolicyView, SuiteView
from api.http.routing import Routes, ThreadRoute
from api.http.schemas import After, Limit, Page, page_of
from core import errors
from core.datasets.suites import create_suite
from core.datasets.version_rows import Suites
from core.gate.policies import create_policy
from core.gate.rows import Policies
from core.principal import Role
from core.recipes.fields import PromptTemplate
from core.registry.read import usual_prompt
from core.upkeep.delete import retire_suite
from core.values import PolicyId, new_id

router = Routes(prefix="/v1", tags=["suites"], route_class=ThreadRoute)


@router.post(
    "/suites",
    Role.OPERATOR,
    errors.NameInvalid,
    errors.PromptInvalid,
    errors.NameTaken,
    errors.DatasetNotFound,
    errors.DatasetVersionNotFound,
    errors.DatasetEmpty,
    errors.ImageInSuite,
    errors.ImageInTraining,
    status_code=201,
)
def make_suite(body: NewSuite, services: WiredServices, response: Response) -> SuiteView:
    """Create a suite from a dataset version or the present images, which no model learns then.

    It takes a key for every model, since no model can learn these images then.
    """
    with services.platform.transactions(read_only=True) as work:
        prompt = PromptTemplate(body.prompt) if body.prompt else usual_prompt(work)
    suite = create_suite(
        services.platform,
        name=body.name,
        kind=body.kind,
        dataset=body.dataset,
        dataset_version=body.dataset_version,
        prompt=prompt,
        mirror=body.mirror,
    )
    response.headers["Location"] = f"/v1/suites/{suite.name}"
    return SuiteView.of(suite)


@router.get("/suites", Role.VIEWER)
def list_suites(services: WiredServices, limit: Limit = 50, after: After = None) -> Page[SuiteView]:
    """List suites, oldest first."""
    with services.platform.transactions(read_only=True) as work:
        rows = work[Suites].page(limit + 1, after)
    return page_of(rows, limit, SuiteView.of, lambda row: row.id)


@router.get("/suites/{suite}", Role.VIEWER, errors.SuiteNotFound)
def get_suite(suite: str, services: WiredServices) -> SuiteView:
    """Return a suite."""
    with services.platform.transactions(read_only=True) as work:
        return SuiteView.of(work[Suites].get(suite))


@router.delete("/suites/{suite}", Role.ADMIN, errors.SuiteNotFound, errors.InUse, status_code=204)
def delete_suite(suite: str, services: WiredServices) -> None:
    """Retire a suite that judges no model: its images may be trained on, and its dataset deleted.

    Reports that quote it stay as they are. It can still be read, and its name stays taken.
    """
    retire_suite(services.platform, suite=suite)


@router.post("/gate-policies", Role.ADMIN, errors.NameInvalid, errors.NameTaken, status_code=201)
def make_policy(body: NewPolicy, services: WiredServices, response: Response) -> PolicyView:
    """Create a gate policy, which sets how much a version may forget before the gate fails it."""
    now = services.platform.clock()
    policy = create_policy(services.platform, body.policy(PolicyId(new_id("gate", now)), now))
    response.headers["Location"] = f"/v1/gate-policies/{policy.name}"
    return PolicyView.of(policy)


@router.get("/gate-policies", Role.VIEWER)
def list_policies(
    services: WiredServices, limit: Limit = 50, after: After = None
) -> Page[PolicyView]:
    """List gate policies, oldest first."""
    with services.platform.transactions(read_only=True) as work:
        rows = work[Policies].page(limit + 1, after)
    return page_of(rows, limit, PolicyView.of, lambda row: row.id)


@router.get("/gate-policies/{policy}", Role.VIEWER, errors.PolicyNotFound)
def get_policy(policy: str, services: WiredServices) -> PolicyView:
    """Return a gate policy."""
    with services.platform.transactions(read_only=True) as work:
        return PolicyView.of(work[Policies].get(policy))
