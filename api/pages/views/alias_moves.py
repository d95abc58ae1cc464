"""Pages that promote a version and roll an alias back, each behind a reason and a confirmation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from api.dependencies import CurrentPrincipal, Services, WiredServices
from api.http.paths import PAGES
from api.http.required_role import needs
from api.pages.browser.forms import LONGEST_REASON, read_form, reason_field, whole_field
from api.pages.browser.page_route import PageRoute
from api.pages.browser.rendering import page
from api.schemas.common import Number
from core.domain.access.principal import Principal
from core.domain.access.roles import Role
from core.domain.registry.alias import Alias, AliasMove
from core.domain.registry.promotion import role_to_override
from core.domain.registry.version import Version
from core.errors import PerennialError
from core.use_cases.registry.aliases.promote import promote
from core.use_cases.registry.aliases.roll_back import find_rollback_target, roll_back
from core.use_cases.registry.reports import scores_of

router = APIRouter(
    prefix=f"{PAGES}/models/{{model}}/aliases/{{alias}}",
    route_class=PageRoute,
    include_in_schema=False,
)

PROMOTION, ROLLBACK = "promotion", "rollback"
MOVES = 20  # newest, of which those since the form was shown are told
Fields = Mapping[str, str]


@router.get("/promotion", openapi_extra=needs(Role.OPERATOR))
def confirm_promotion(
    model: str,
    alias: str,
    request: Request,
    services: WiredServices,
    version: Annotated[Number, Query()],
) -> Response:
    """Ask for the reason of a promotion, beside what is known of the version."""
    return _ask(request, services, PROMOTION, model, alias, version)


@router.post("/promotion", openapi_extra=needs(Role.OPERATOR))
async def promote_version(
    model: str, alias: str, request: Request, services: WiredServices, principal: CurrentPrincipal
) -> Response:
    """Point the alias at the version, if it is still where the form has shown it."""

    def move(fields: Fields) -> Alias:
        return promote(
            services.platform,
            principal,
            model=model,
            alias=alias,
            version=whole_field(fields, "version"),
            expected_revision=whole_field(fields, "revision"),
            reason=reason_field(fields),
            override="override" in fields,
        )

    return await _move(request, services, PROMOTION, model, alias, move)


@router.get("/rollback", openapi_extra=needs(Role.OPERATOR))
def confirm_rollback(model: str, alias: str, request: Request, services: WiredServices) -> Response:
    """Ask for the reason of a rollback to the version that was live before."""
    return _ask(request, services, ROLLBACK, model, alias, None)


@router.post("/rollback", openapi_extra=needs(Role.OPERATOR))
async def roll_alias_back(
    model: str, alias: str, request: Request, services: WiredServices, principal: CurrentPrincipal
) -> Response:
    """Roll the alias back, if it is still where the form has shown it."""

    def move(fields: Fields) -> Alias:
        return roll_back(
            services.platform,
            principal,
            model=model,
            alias=alias,
            to=whole_field(fields, "version"),
            expected_revision=whole_field(fields, "revision"),
            reason=reason_field(fields),
        )

    return await _move(request, services, ROLLBACK, model, alias, move)


async def _move(
    request: Request,
    services: Services,
    kind: str,
    model: str,
    alias: str,
    move: Callable[[Fields], Alias],
) -> Response:
    fields = await read_form(request)
    try:
        await run_in_threadpool(move, fields)
    except PerennialError as refusal:
        version = whole_field(fields, "version")
        return await run_in_threadpool(
            _ask, request, services, kind, model, alias, version, fields, refusal
        )
    return RedirectResponse(f"{PAGES}/models/{model}?moved={alias}", 303)


def _ask(
    request: Request,
    services: Services,
    kind: str,
    model: str,
    alias: str,
    version: int | None,
    fields: Fields | None = None,
    refusal: PerennialError | None = None,
) -> Response:
    """Return the form of a move as things are now; after a refusal, with what it was and why."""
    platform = services.platform
    with platform.transactions(read_only=True) as work:
        found = work.models.get(model)
        newest = work.aliases.newest_moves(found.id, alias, MOVES)
        if kind == ROLLBACK:
            work.aliases.get(found.id, alias)
            version = find_rollback_target(work, found.id, alias)
        to = work.versions.get(found.id, version or 0)
        present = work.aliases.find(found.id, alias)
    sent = fields or {}
    return page(
        request,
        "alias_move.html",
        kind=kind,
        model=found,
        alias=alias,
        to=to,
        present=present,
        revision=present.revision if present else 0,
        last=newest[-1] if newest else None,
        moved_since=_moved_since(newest, sent),
        reasons=scores_of(platform.artifacts, to).get("reasons", ()),
        reason=sent.get("reason", ""),
        refusal=refusal,
        may_override=_may_override(request.scope["state"]["principal"], to, kind),
        longest=LONGEST_REASON,
        now=platform.clock(),
    )


def _moved_since(newest: Sequence[AliasMove], sent: Fields) -> list[AliasMove]:
    """Return the moves that were made since the form was shown."""
    seen = sent.get("revision", "")
    return [move for move in newest if seen.isdecimal() and move.revision > int(seen)]


def _may_override(principal: Principal, version: Version, kind: str) -> bool:
    return kind == PROMOTION and principal.may(role_to_override(version))
