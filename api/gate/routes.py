"""Routes of suites and gate policies, by which the gate judges versions."""

from fastapi import Response

from api.dependencies import WiredServices
from api.gate.schemas import NewPolicy, NewSuite, PolicyView, SuiteImages, SuiteView
from api.http.routing import Routes, ThreadRoute
from api.http.schemas import After, Limit, Page, VersionNumber, page_of
from core import errors
from core.datasets.suites import create_suite
from core.datasets.version_rows import Suites
from core.gate.policies import create_policy
from core.gate.rows import Policies
from core.principal import Role
from core.recipes.fields import PromptTemplate
from core.registry.evidence import grow_holdout, grow_suite
from core.registry.read import suite_to_show, usual_prompt
from core.upkeep.delete import retire_suite
from core.values import PolicyId, new_id

router = Routes(prefix="/v1", tags=["suites"], route_class=ThreadRoute)


@router.post(
    "/suites",
    Role.OPERATOR,
    errors.NameInvalid,
    errors.PromptInvalid,
    errors.ClassInvalid,
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
        classes=body.classes,
    )
    response.headers["Location"] = f"/v1/suites/{suite.name}"
    return SuiteView.of(suite)


@router.get("/suites", Role.VIEWER)
def list_suites(services: WiredServices, limit: Limit = 50, after: After = None) -> Page[SuiteView]:
    """List suites, oldest first, each in its newest edition."""
    with services.platform.transactions(read_only=True) as work:
        rows = work[Suites].page(limit + 1, after)
    return page_of(rows, limit, SuiteView.of, lambda row: row.id)


@router.get("/suites/{suite}", Role.VIEWER, errors.SuiteNotFound)
def get_suite(suite: str, services: WiredServices) -> SuiteView:
    """Return a suite: by its name the newest edition, by an id that one."""
    with services.platform.transactions(read_only=True) as work:
        return SuiteView.of(suite_to_show(work, suite))


@router.post(
    "/suites/{suite}/images",
    Role.ADMIN,
    errors.SuiteNotFound,
    errors.SuiteRetired,
    errors.DatasetNotFound,
    errors.DatasetVersionNotFound,
    errors.DatasetEmpty,
    errors.ImageInTraining,
)
def add_suite_images(suite: str, body: SuiteImages, services: WiredServices) -> SuiteView:
    """Add the images of a dataset to a suite, which makes its next edition.

    It judges every model of the suite from now on; verdicts of earlier editions let nothing pass,
    and what they failed has failed. Images that it has already stay as they are. It takes a key for
    every model.
    """
    return SuiteView.of(grow_suite(services.platform, suite=suite, **dict(body)))


@router.post(
    "/models/{model}/versions/{version}/holdout/images",
    Role.ADMIN,
    errors.ModelNotFound,
    errors.VersionNotFound,
    errors.DatasetNotFound,
    errors.DatasetVersionNotFound,
    errors.DatasetEmpty,
    errors.ImageInTraining,
)
def add_holdout_images(
    model: str, version: VersionNumber, body: SuiteImages, services: WiredServices
) -> SuiteView:
    """Add test images to the holdout of the update that made a version.

    They judge all versions that know its classes, but not what the update itself has gained. The
    answer is about all images that were added so far; no model can be taught with them any more. It
    takes a key for every model.
    """
    grown = grow_holdout(services.platform, model=model, version=version, **dict(body))
    return SuiteView.of(grown)


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
