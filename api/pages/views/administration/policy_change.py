"""The page that changes what judges a model: first it shows what would change, then changes it."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from api.dependencies import Services, WiredServices
from api.http.paths import PAGES
from api.http.required_role import needs
from api.pages.browser.forms import LONGEST_REASON, read_form, reason_field
from api.pages.browser.page_route import PageRoute
from api.pages.browser.rendering import page
from api.pages.views.administration.policy import newest_judged
from api.pages.views.administration.policy_form import FIELDS, changes_of, form_of, wanted_of
from core.domain.access.roles import Role
from core.domain.evaluation.judge_again import judge_again
from core.domain.gate.policy import GatePolicy
from core.domain.registry.version import Model
from core.errors import FieldInvalid, PerennialError
from core.ports import Platform
from core.use_cases.datasets.suites import configure_model

router = APIRouter(
    prefix=f"{PAGES}/models/{{model}}/policy/change",
    route_class=PageRoute,
    include_in_schema=False,
)

Fields = Mapping[str, str]
KNOWN = 100  # suites whose names the page lists


@router.get("", openapi_extra=needs(Role.ADMIN))
def show_form(model: str, request: Request, services: WiredServices) -> Response:
    """Show the form with what judges the model now."""
    return _ask(request, services, model)


@router.post("/preview", openapi_extra=needs(Role.ADMIN))
async def show_preview(model: str, request: Request, services: WiredServices) -> Response:
    """Show what would change, and change nothing."""
    fields = await read_form(request)
    return await run_in_threadpool(_ask, request, services, model, fields)


@router.post("", openapi_extra=needs(Role.ADMIN))
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
                    work.suites.get(suite)
            preview = {"changes": list(changes_of(wanted, policy, suites)), "judgement": None}
            judged = newest_judged(platform, found) if wanted.policy else None
            if judged and wanted.policy:
                preview["report"] = judged[1]
                preview["judgement"] = judge_again(judged[1], wanted.policy)
        except PerennialError as problem:
            refusal = refusal or problem
    with platform.transactions(read_only=True) as work:
        known = [suite.name for suite in work.suites.page(KNOWN, None)]
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
        found = work.models.get(model)
        names = work.suites.names(found.suites)
        return found, work.policies.get(found.policy), [names[suite] for suite in found.suites]


def _seen(policy: GatePolicy, suites: Sequence[str]) -> str:
    """Return what a form says of what judged the model when it was shown."""
    return " ".join([policy.id, *suites])
