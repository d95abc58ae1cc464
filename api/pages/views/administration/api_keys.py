"""Pages of API keys: list, create, rotate, revoke. A secret is shown once, by what made it."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from api.dependencies import CurrentPrincipal, Services, WiredServices
from api.http.paths import PAGES
from api.http.required_role import needs
from api.pages.browser.filters import end_of
from api.pages.browser.forms import names_field, read_form, whole_field
from api.pages.browser.page_route import PageRoute
from api.pages.browser.rendering import page
from api.schemas.common import After
from core.domain.access.api_key import ApiKey
from core.domain.access.principal import Principal
from core.domain.access.roles import Role
from core.domain.values import KeyId
from core.errors import FieldInvalid, PerennialError
from core.ports import AuditFilter, UnitOfWork
from core.use_cases.access.keys import OVERLAP, create_key, model_names, revoke_key, rotate_key

router = APIRouter(prefix=f"{PAGES}/keys", route_class=PageRoute, include_in_schema=False)

KEYS = 40
LONGEST_OVERLAP = 24 * 30  # hours
Fields = Mapping[str, str]


@router.get("", openapi_extra=needs(Role.ADMIN))
def show_keys(request: Request, services: WiredServices, after: After = None) -> Response:
    """Show API keys, oldest first, and a form that makes one."""
    return _list(request, services, after)


@router.post("", openapi_extra=needs(Role.ADMIN))
async def make_key(
    request: Request, services: WiredServices, principal: CurrentPrincipal
) -> Response:
    """Make a key, and show its secret."""
    fields = await read_form(request)

    def make() -> Response:
        try:
            key, secret = create_key(
                services.platform,
                name=fields.get("name", ""),
                role=_role(fields),
                models=names_field(fields, "models") or None,
                expires_at=_end_of(fields.get("expires", "")),
            )
        except PerennialError as refusal:
            return _list(request, services, None, fields, refusal)
        return _one(request, services, principal, key.id, secret=secret)

    return await run_in_threadpool(make)


@router.get("/{key}", openapi_extra=needs(Role.ADMIN))
def show_key(
    key: str, request: Request, services: WiredServices, principal: CurrentPrincipal
) -> Response:
    """Show a key, by id or name."""
    return _one(request, services, principal, key)


@router.post("/{key}/rotate", openapi_extra=needs(Role.ADMIN))
async def give_new_secret(
    key: str, request: Request, services: WiredServices, principal: CurrentPrincipal
) -> Response:
    """Give a key a new secret, and show it."""
    fields = await read_form(request)

    def rotate() -> Response:
        try:
            rotated, secret = rotate_key(services.platform, key, _overlap(fields))
        except PerennialError as refusal:
            return _one(request, services, principal, key, refusal=refusal)
        return _one(request, services, principal, rotated.id, secret=secret)

    return await run_in_threadpool(rotate)


@router.post("/{key}/revoke", openapi_extra=needs(Role.ADMIN))
async def end_key(
    key: str, request: Request, services: WiredServices, principal: CurrentPrincipal
) -> Response:
    """Revoke a key for ever."""
    await read_form(request)
    try:
        await run_in_threadpool(revoke_key, services.platform, key)
    except PerennialError as refusal:
        return await run_in_threadpool(_one, request, services, principal, key, refusal=refusal)
    return RedirectResponse(f"{PAGES}/keys/{key}", 303)


def _list(
    request: Request,
    services: Services,
    after: str | None,
    sent: Fields | None = None,
    refusal: PerennialError | None = None,
) -> Response:
    now = services.platform.clock()
    with services.platform.transactions(read_only=True) as work:
        keys = work.keys.page(KEYS + 1, after)
        uses = work.keys.last_uses([key.id for key in keys])
        rows = [_known(work, key, now, uses) for key in keys[:KEYS]]
    return page(
        request,
        "administration/keys.html",
        rows=rows,
        next=keys[KEYS - 1].id if len(keys) > KEYS else None,
        roles=[role.value for role in Role],
        sent=sent or {},
        refusal=refusal,
        now=now,
    )


def _one(
    request: Request,
    services: Services,
    principal: Principal,
    reference: str,
    *,
    secret: str | None = None,
    refusal: PerennialError | None = None,
) -> Response:
    now = services.platform.clock()
    with services.platform.transactions(read_only=True) as work:
        key = work.keys.get(reference)
        known = _known(work, key, now, work.keys.last_uses([key.id]))
    return page(
        request,
        "administration/key.html",
        **known,
        secret=secret,
        own=principal.key == known["key"].id,
        overlap=OVERLAP // timedelta(hours=1),
        longest=LONGEST_OVERLAP,
        refusal=refusal,
        now=now,
    )


def _known(
    work: UnitOfWork, key: ApiKey, now: datetime, uses: Mapping[KeyId, datetime]
) -> dict[str, Any]:
    """Return a key with the names of its models, its state, its last use and its last change."""
    changes = work.audit.page(1, None, AuditFilter(actor=key.name))
    revoked = "revoked" if key.revoked_at else "expired"
    return {
        "key": key,
        "models": None if key.models is None else model_names(work, key),
        "state": "valid" if key.is_live(now) else revoked,
        "used_at": uses.get(key.id),
        "changed_at": changes[0].change.at if changes else None,
    }


def _role(fields: Fields) -> Role:
    try:
        return Role(fields.get("role", ""))
    except ValueError as error:
        raise FieldInvalid("Choose a role.", pointer="/role") from error


def _end_of(day: str) -> datetime | None:
    if not day:
        return None
    try:
        return end_of(date.fromisoformat(day))
    except (ValueError, OverflowError) as error:
        raise FieldInvalid("Write the last day as in 2027-12-31.", pointer="/expires") from error


def _overlap(fields: Fields) -> timedelta:
    hours = whole_field(fields, "overlap")
    if hours > LONGEST_OVERLAP:
        raise FieldInvalid(
            f"The current secret can stay valid for {LONGEST_OVERLAP} hours at most.",
            pointer="/overlap",
        )
    return timedelta(hours=hours)
