"""Moves of an alias, promotions and rollbacks, each behind a reason and a confirmation."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import RedirectResponse, Response

from api.dependencies import CurrentPrincipal
from api.http.routing import PAGES, Routes
from api.http.schemas import Number
from api.pages.browsing import PageRoute
from api.pages.forms import LONGEST_REASON, SentForm, fresh_key, reason_field, whole_field
from api.pages.rendering import PageRequest
from core.errors import PerennialError
from core.principal import Principal, Role
from core.registry.alias_rows import Aliases
from core.registry.promotable import role_in_spite_of
from core.registry.promote import (
    expected_refusal,
    find_rollback_target,
    obstacle_to,
    preview_promotion,
    promote,
    roll_back,
)
from core.registry.read import read_json
from core.registry.requirements import promotion_requirements
from core.registry.rows import Models
from core.registry.verdict_rows import Verdicts
from core.registry.version_rows import Versions

router = Routes(
    prefix=f"{PAGES}/models/{{model}}/aliases/{{alias}}",
    route_class=PageRoute,
    include_in_schema=False,
)

PROMOTION, ROLLBACK = "promotion", "rollback"
MOVES = 20  # newest moves, of which the form tells those since it was shown


@router.get("/promotion", Role.OPERATOR)
def confirm_promotion(
    model: str, alias: str, asked: PageRequest, version: Annotated[Number, Query()]
) -> Response:
    """Ask for the reason of a promotion, beside what is known of the version."""
    return _ask(asked, PROMOTION, model, alias, version)


@router.post("/promotion", Role.OPERATOR)
def promote_version(
    model: str, alias: str, asked: PageRequest, principal: CurrentPrincipal, fields: SentForm
) -> Response:
    """Point the alias at the version, if it is still where the form has shown it."""
    return _move(asked, principal, PROMOTION, model, alias, fields)


@router.get("/rollback", Role.OPERATOR)
def confirm_rollback(model: str, alias: str, asked: PageRequest) -> Response:
    """Ask for the reason of a rollback to the version that was live before."""
    return _ask(asked, ROLLBACK, model, alias, None)


@router.post("/rollback", Role.OPERATOR)
def roll_alias_back(
    model: str, alias: str, asked: PageRequest, principal: CurrentPrincipal, fields: SentForm
) -> Response:
    """Roll the alias back, if it is still where the form has shown it."""
    return _move(asked, principal, ROLLBACK, model, alias, fields)


def _move(
    asked: PageRequest,
    principal: Principal,
    kind: str,
    model: str,
    alias: str,
    fields: Mapping[str, str],
) -> Response:
    version = whole_field(fields, "version")
    try:
        wanted: dict[str, Any] = {
            "model": model,
            "alias": alias,
            "expected_revision": whole_field(fields, "revision"),
            "reason": reason_field(fields),
            "override": "override" in fields,
        }
        if kind == ROLLBACK:
            roll_back(asked.platform, principal, to=version, **wanted)
        else:
            wanted |= {
                "decided_on": fields.get("decided_on"),
                "require_served": asked.services.inference.require,
            }
            promote(asked.platform, principal, version=version, **wanted)
    except PerennialError as refusal:
        return _ask(asked, kind, model, alias, version, fields, refusal)
    return RedirectResponse(f"{PAGES}/models/{model}?moved={alias}", 303)


def _ask(
    asked: PageRequest,
    kind: str,
    model: str,
    alias: str,
    version: int | None,
    fields: Mapping[str, str] | None = None,
    refusal: PerennialError | None = None,
) -> Response:
    """Return the form of a move as things are now, with what would refuse it or has refused it."""
    principal: Principal = asked.request.scope["state"]["principal"]
    platform = asked.platform
    with platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        newest = work[Aliases].newest_moves(found.id, alias, MOVES)
        if kind == ROLLBACK:
            work[Aliases].get(found.id, alias)
            version = find_rollback_target(work, found, alias)
        to = work[Versions].get(found.id, version or 0)
        present = work[Aliases].find(found.id, alias)
        foreseen = expected_refusal if kind == PROMOTION else obstacle_to
        expected = foreseen(work, to, alias)
        verdicts = work[Verdicts].counting(to)
        required = promotion_requirements(work, to, alias)
        preview = preview_promotion(work, to, alias) if kind == PROMOTION else None
    deciding = required.deciding(verdicts) if kind == PROMOTION else None
    takes = role_in_spite_of(expected, to, verdicts, required)
    told = deciding or to
    sent = fields or {}
    seen = sent.get("revision", "")
    return asked.page(
        "alias_move.html",
        kind=kind,
        model=found,
        alias=alias,
        to=to,
        present=present,
        revision=present.revision if present else 0,
        last=newest[-1] if newest else None,
        moved_since=[one for one in newest if seen.isdecimal() and one.revision > int(seen)],
        deciding=deciding,
        preview=preview,
        unlisted=required.unlisted,
        told=told,
        summary=(read_json(platform.artifacts, told.report) or {}).get("summary"),
        reason=sent.get("reason", ""),
        refusal=refusal,
        expected_refusal=expected,
        takes=takes,
        may_override=takes is not None and principal.may(takes),
        longest=LONGEST_REASON,
        key=fresh_key(),
    )
