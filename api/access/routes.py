"""Routes of API keys, of the caller, and of audit events."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import Query, Response

from api.access.schemas import (
    AuditEventView,
    ChainView,
    KeyView,
    NewKey,
    PrincipalView,
    Rotation,
    SecretView,
)
from api.dependencies import CurrentPrincipal, Services, WiredServices
from api.http.routing import Routes, ThreadRoute
from api.http.schemas import After, AfterNumber, Limit, Page, Time, number_after, page_of
from core import errors
from core.access.keys import create_key, model_names, revoke_key, rotate_key
from core.access.rows import Keys
from core.access.rules import ApiKey
from core.audit.record import verify_audit
from core.audit.rows import AuditTrail
from core.audit.rules import AuditEvent, AuditFilter
from core.database.work import Work
from core.principal import Role

router = Routes(prefix="/v1", tags=["access"], route_class=ThreadRoute)

Actor = Annotated[
    str | None,
    Query(max_length=300, examples=["admin"], description="A key's name, or `oidc:SUB`."),
]

ActionText = Annotated[
    str | None,
    Query(max_length=300, examples=["alias.moved"], description="What was done."),
]

Subject = Annotated[
    str | None,
    Query(
        max_length=300,
        examples=["models/demo"],
        description="A path without /v1; what is below it is listed too.",
    ),
]

Since = Annotated[Time | None, Query(description="Events at this time or later.")]
Until = Annotated[Time | None, Query(description="Events before this time.")]


@router.post(
    "/api-keys",
    Role.ADMIN,
    errors.NameInvalid,
    errors.NameTaken,
    errors.ModelNotFound,
    errors.FieldInvalid,
    status_code=201,
)
def make_api_key(body: NewKey, services: WiredServices, response: Response) -> SecretView:
    """Create an API key; its secret is in this response and in no other."""
    key, secret = create_key(
        services.platform,
        name=body.name,
        role=body.role,
        models=body.models,
        expires_at=body.expires_at,
    )
    response.headers["Location"] = f"/v1/api-keys/{key.id}"
    return _with_secret(services, key, secret)


@router.get("/api-keys", Role.ADMIN)
def list_api_keys(services: WiredServices, limit: Limit = 50, after: After = None) -> Page[KeyView]:
    """List API keys, oldest first, also those that were revoked or have expired."""
    now = services.platform.clock()
    with services.platform.transactions(read_only=True) as work:
        rows = work[Keys].page(limit + 1, after)
        uses = work[Keys].last_uses([row.id for row in rows])

        def view(row: ApiKey) -> KeyView:
            return KeyView.of(row, **_facts(work, row, now), last_used_at=uses.get(row.id))

        return page_of(rows, limit, view, lambda row: row.id)


def _facts(work: Work, key: ApiKey, now: datetime) -> dict[str, Any]:
    models = None if key.models is None else model_names(work, key)
    return {"models": models, "live": key.is_live(now)}


@router.get("/api-keys/{key}", Role.ADMIN, errors.KeyNotFound)
def get_api_key(key: str, services: WiredServices) -> KeyView:
    """Return an API key, by id or name."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Keys].get(key)
        used = work[Keys].last_uses([found.id]).get(found.id)
        facts = _facts(work, found, services.platform.clock())
    return KeyView.of(found, **facts, last_used_at=used)


@router.post("/api-keys/{key}/rotate", Role.ADMIN, errors.KeyNotFound, errors.KeyNotLive)
def rotate_api_key(key: str, services: WiredServices, body: Rotation | None = None) -> SecretView:
    """Give an API key a new secret; the present one stays valid for a while.

    Rotate again to end the present secret early.
    """
    rotated, secret = rotate_key(services.platform, key, (body or Rotation()).overlap)
    return _with_secret(services, rotated, secret)


@router.delete(
    "/api-keys/{key}",
    Role.ADMIN,
    errors.KeyNotFound,
    errors.LastAdminKey,
    status_code=204,
    response_class=Response,
)
def revoke_api_key(key: str, services: WiredServices) -> None:
    """Revoke an API key for ever; it stays listed. The next request with it gets 401."""
    revoke_key(services.platform, key)


def _with_secret(services: Services, key: ApiKey, secret: str) -> SecretView:
    with services.platform.transactions(read_only=True) as work:
        used = work[Keys].last_uses([key.id]).get(key.id)
        facts = _facts(work, key, services.platform.clock())
    return SecretView.of(key, **facts, last_used_at=used, secret=secret)


@router.get("/principal", Role.VIEWER)
def get_principal(services: WiredServices, principal: CurrentPrincipal) -> PrincipalView:
    """Return the caller: the name of its key or token, its role and its models."""
    with services.platform.transactions(read_only=True) as work:
        names = sorted(model_names(work, principal))
    return PrincipalView(
        name=principal.name,
        role=Role(str(principal.role)),
        models=None if principal.models is None else names,
        key=principal.key,
    )


@router.get("/audit-events", Role.ADMIN)
def list_audit_events(
    services: WiredServices,
    limit: Limit = 50,
    after: AfterNumber = None,
    actor: Actor = None,
    action: ActionText = None,
    subject: Subject = None,
    since: Since = None,
    until: Until = None,
) -> Page[AuditEventView]:
    """List what was changed, by whom and why, newest first."""
    wanted = AuditFilter(actor=actor, action=action, subject=subject, since=since, until=until)
    start = number_after(after) if after is not None else None
    with services.platform.transactions(read_only=True) as work:
        rows = work[AuditTrail].page(limit + 1, start, wanted)
    return page_of(rows, limit, _audit_event, lambda row: row.sequence)


def _audit_event(event: AuditEvent) -> AuditEventView:
    return AuditEventView.of(event.change, sequence=event.sequence, hash=event.hash)


@router.get("/audit-events/verification", Role.ADMIN)
def verify_audit_events(services: WiredServices) -> ChainView:
    """Recompute the chain of hashes; return the first event that does not fit, if any."""
    check = verify_audit(services.platform)
    return ChainView.of(check, holds=check.broken_at is None)
