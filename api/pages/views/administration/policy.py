"""The page of what judges a model: its policy, its suites, and its line's error budget."""

from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.dependencies import WiredServices
from api.http.paths import PAGES
from api.http.required_role import needs
from api.pages.browser.page_route import PageRoute
from api.pages.browser.rendering import page
from api.pages.numbers import percent, small_percent, whole
from core.domain.access.roles import Role
from core.domain.evaluation.report import Report
from core.domain.gate.policy import GatePolicy
from core.domain.registry.version import Model, Version
from core.errors import PerennialError
from core.ports import Platform
from core.use_cases.registry.reports import read_report

router = APIRouter(
    prefix=f"{PAGES}/models/{{model}}/policy", route_class=PageRoute, include_in_schema=False
)

LATEST = 30  # versions, of which the newest with a report is shown


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule of a policy, in words."""

    name: str
    value: str
    meaning: str


@router.get("", openapi_extra=needs(Role.VIEWER))
def show_policy(model: str, request: Request, services: WiredServices) -> Response:
    """Show the policy and the suites of a model, and the error budget of its line."""
    platform = services.platform
    with platform.transactions(read_only=True) as work:
        found = work.models.get(model)
        policy = work.policies.get(found.policy)
        suites = [work.suites.get(suite) for suite in found.suites]
    judged = newest_judged(platform, found)
    return page(
        request,
        "administration/policy.html",
        model=found,
        policy=policy,
        rules=list(rules(policy)),
        suites=suites,
        version=judged[0] if judged else None,
        report=judged[1] if judged else None,
        now=platform.clock(),
    )


def newest_judged(platform: Platform, model: Model) -> tuple[Version, Report] | None:
    """Return the newest version that has a readable report, and the report."""
    with platform.transactions(read_only=True) as work:
        newest = work.versions.newest(model.id)
        start = max(0, newest.number - LATEST) if newest else 0
        versions = work.versions.page(model.id, LATEST, start)
    for version in reversed(versions):
        try:
            return version, Report.from_json(read_report(platform.artifacts, version))
        except PerennialError:
            continue
    return None


def rules(policy: GatePolicy) -> Iterator[Rule]:
    """Yield the rules of a policy in the order in which the page shows them."""
    flips, budget = policy.negative_flips, policy.line_error
    parent, root, holdout = (
        f"{percent(value)} points"
        for value in (policy.parent_tolerance, policy.root_tolerance, policy.holdout_tolerance)
    )
    yield Rule(name="Suites, against the parent", value=parent, meaning="may be lost")
    yield Rule(name="Suites, against the root", value=root, meaning="may be lost")
    yield Rule(name="Holdouts of other updates", value=holdout, meaning="may be lost")
    yield Rule(
        name="Wanted gain",
        value=f"{percent(policy.wanted_gain)} points",
        meaning="must be reached on the update's own holdout",
    )
    yield Rule(
        name="Negative flips",
        value="not judged" if flips is None else f"{percent(flips)} %",
        meaning="of a suite's right answers may be wrong now",
    )
    yield Rule(
        name="Guards from",
        value=f"{whole(policy.minimum_count)} test images",
        meaning="with fewer, a measure can fail a version but not pass one",
    )
    yield Rule(
        name="Error of each bound",
        value=f"{small_percent(policy.alpha)} %",
        meaning="the chance that one verdict is wrong about one measure",
    )
    yield Rule(
        name="Error of the whole line",
        value="no budget" if budget is None else f"{small_percent(budget)} %",
        meaning="each verdict is judged as if it were the only one"
        if budget is None
        else f"for each suite, half of it in {whole(policy.line_updates)} verdicts",
    )
