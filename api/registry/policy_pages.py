"""The form of a policy, in percent and counts, and what it asks for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from api.datasets.schemas import NewPolicy
from api.dependencies import Services, WiredServices
from api.http.routing import PAGES, needs
from api.pages.browsing import PageRoute
from api.pages.rendering import (
    LONGEST_REASON,
    names_field,
    page,
    percent,
    percent_field,
    read_form,
    reason_field,
    small_percent,
    whole,
    whole_field,
)
from core.datasets.version_rows import Suites
from core.errors import FieldInvalid, PerennialError
from core.evaluation.judge import judge_again
from core.evaluation.report import Report
from core.gate.rows import Policies
from core.gate.rules import GatePolicy
from core.platform import Platform
from core.principal import Role
from core.registry.configure import configure_model
from core.registry.read import read_report
from core.registry.rows import Models, Versions
from core.registry.versions import Model, Version
from core.values import PolicyId, new_id

# The page of what judges a model: its policy, its suites, and its line's error budget.


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
        found = work[Models].get(model)
        policy = work[Policies].get(found.policy)
        suites = [work[Suites].get(suite) for suite in found.suites]
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
        newest = work[Versions].newest(model.id)
        start = max(0, newest.number - LATEST) if newest else 0
        versions = work[Versions].page(model.id, LATEST, start)
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


Fields = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class PolicyField:
    """A field of the form; its bounds are those of the API."""

    name: str
    label: str
    unit: str = "points"
    low: str = "0"
    high: str = "100"
    optional: str = ""  # what an empty field means

    @property
    def counts(self) -> bool:
        """True for a whole number, False for percent."""
        return self.unit in {"images", "verdicts"}


FIELDS = (
    PolicyField(name="parent_tolerance", label="Suites may lose, against the parent"),
    PolicyField(name="root_tolerance", label="Suites may lose, against the root"),
    PolicyField(name="holdout_tolerance", label="Holdouts of other updates may lose"),
    PolicyField(name="wanted_gain", label="Wanted gain on the update's own holdout"),
    PolicyField(
        name="negative_flips",
        label="Right answers of a suite that may be wrong now",
        unit="%",
        optional="not judged",
    ),
    PolicyField(name="minimum_count", label="Guards from", unit="images", low="1", high="1000000"),
    PolicyField(name="alpha", label="Error of each bound", unit="%", low="0.001", high="20"),
    PolicyField(
        name="line_error",
        label="Error of the whole line",
        unit="%",
        low="0.1",
        high="50",
        optional="no budget",
    ),
    PolicyField(
        name="line_updates",
        label="Half of it is spent in",
        unit="verdicts",
        low="1",
        high="100000",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The suites and the policy that a form asks for; None where nothing would change."""

    suites: Sequence[str] | None  # names
    policy: GatePolicy | None


def form_of(policy: GatePolicy, suites: Sequence[str], name: str) -> dict[str, str]:
    """Return the fields as they are shown at first; `name` is that of a new policy."""
    shown = {one.name: _shown(getattr(policy, one.name), one) for one in FIELDS}
    return shown | {"suites": "\n".join(suites), "name": name}


def wanted_of(
    fields: Fields, policy: GatePolicy, suites: Sequence[str], now: datetime, reason: str = ""
) -> Wanted:
    """Return what a form asks for, beside the present policy and suites. Raises FieldInvalid."""
    values = {one.name: _value(fields, one) for one in FIELDS}
    named = {"name": fields.get("name", ""), "reason": reason}
    new = NewPolicy.model_validate({**named, **values}).policy(PolicyId(new_id("gate", now)), now)
    same = all(getattr(new, one.name) == getattr(policy, one.name) for one in FIELDS)
    names = names_field(fields, "suites")
    wanted = Wanted(suites=None if names == list(suites) else names, policy=None if same else new)
    if wanted.suites is None and wanted.policy is None:
        raise FieldInvalid("Nothing would change: the model is already judged by this.")
    return wanted


def changes_of(
    wanted: Wanted, policy: GatePolicy, suites: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    """Yield what would change: what, from and to."""
    if wanted.policy is not None:
        yield "Policy", policy.name, wanted.policy.name
        for one in FIELDS:
            before, now = (getattr(each, one.name) for each in (policy, wanted.policy))
            if before != now:
                yield one.label, _told(before, one), _told(now, one)
    if wanted.suites is not None:
        yield "Suites", ", ".join(suites) or "none", ", ".join(wanted.suites) or "none"


def _shown(value: float | None, field: PolicyField) -> str:
    if value is None:
        return ""
    return str(value) if field.counts else f"{100 * value:.10g}"


def _told(value: float | None, field: PolicyField) -> str:
    return field.optional if value is None else f"{_shown(value, field)} {field.unit}"


def _value(fields: Fields, field: PolicyField) -> float | None:
    text = fields.get(field.name, "")
    if not text and field.optional:
        return None
    found = whole_field(fields, field.name) if field.counts else percent_field(fields, field.name)
    low, high = (float(bound) / (1 if field.counts else 100) for bound in (field.low, field.high))
    if not low <= found <= high:
        raise FieldInvalid(
            f"{field.label}: from {field.low} to {field.high} {field.unit}.",
            pointer=f"/{field.name}",
        )
    return found


# The page that changes what judges a model: first it shows what would change, then changes it.


policy_change_router = APIRouter(
    prefix=f"{PAGES}/models/{{model}}/policy/change",
    route_class=PageRoute,
    include_in_schema=False,
)

KNOWN = 100  # suites whose names the page lists


@policy_change_router.get("", openapi_extra=needs(Role.ADMIN))
def show_form(model: str, request: Request, services: WiredServices) -> Response:
    """Show the form with what judges the model now."""
    return _ask(request, services, model)


@policy_change_router.post("/preview", openapi_extra=needs(Role.ADMIN))
async def show_preview(model: str, request: Request, services: WiredServices) -> Response:
    """Show what would change, and change nothing."""
    fields = await read_form(request)
    return await run_in_threadpool(_ask, request, services, model, fields)


@policy_change_router.post("", openapi_extra=needs(Role.ADMIN))
async def change(model: str, request: Request, services: WiredServices) -> Response:
    """Change what judges the model's next versions."""
    fields = await read_form(request)
    platform = services.platform

    def save() -> Response:
        try:
            found, policy, suites = _present(platform, model)
            if fields.get("seen") != _seen(policy, suites):
                raise FieldInvalid("Somebody else changed it: check the current state.")
            reason = reason_field(fields)
            wanted = wanted_of(fields, policy, suites, platform.clock(), reason)
            configure_model(
                platform, found.id, suites=wanted.suites, policy=wanted.policy, reason=reason
            )
        except PerennialError as refusal:
            return _ask(request, services, model, fields, refusal)
        return RedirectResponse(f"{PAGES}/models/{found.name}/policy", 303)

    return await run_in_threadpool(save)


def _ask(
    request: Request,
    services: Services,
    model: str,
    fields: Fields | None = None,
    refusal: PerennialError | None = None,
) -> Response:
    """Return the form; with fields, also what they would change."""
    platform = services.platform
    now = platform.clock()
    found, policy, suites = _present(platform, model)
    preview: dict[str, Any] | None = None
    if fields is not None:
        try:
            wanted = wanted_of(fields, policy, suites, now)
            with platform.transactions(read_only=True) as work:
                for suite in wanted.suites or ():
                    work[Suites].get(suite)
            preview = {"changes": list(changes_of(wanted, policy, suites)), "judgement": None}
            judged = newest_judged(platform, found) if wanted.policy else None
            if judged and wanted.policy:
                preview["report"] = judged[1]
                preview["judgement"] = judge_again(judged[1], wanted.policy)
        except PerennialError as problem:
            refusal = refusal or problem
    with platform.transactions(read_only=True) as work:
        known = [suite.name for suite in work[Suites].page(KNOWN, None)]
    named = f"{found.name[:53]}-{now:%Y-%m-%d}"
    return page(
        request,
        "administration/policy_change.html",
        model=found,
        policy=policy,
        seen=_seen(policy, suites),
        form={**form_of(policy, suites, named), **(fields or {})},
        inputs=FIELDS,
        known=known,
        preview=preview,
        refusal=refusal,
        longest=LONGEST_REASON,
        now=now,
    )


def _present(platform: Platform, model: str) -> tuple[Model, GatePolicy, list[str]]:
    """Return a model, its policy and the names of its suites."""
    with platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        names = work[Suites].names(found.suites)
        return found, work[Policies].get(found.policy), [names[suite] for suite in found.suites]


def _seen(policy: GatePolicy, suites: Sequence[str]) -> str:
    """Return what a form says of what judged the model when it was shown."""
    return " ".join([policy.id, *suites])
