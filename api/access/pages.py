"""Pages of API keys, whose secret is shown once by what made it, and of audit events."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from starlette.responses import RedirectResponse, Response

from api.dependencies import CurrentPrincipal
from api.http.routing import PAGES, Routes
from api.http.schemas import After, AfterNumber, number_after
from api.pages.browsing import PageRoute
from api.pages.forms import Chosen, Day, SentForm, Text, end_of, names_field, start_of, whole_field
from api.pages.rendering import PageRequest
from core.access.keys import OVERLAP, create_key, model_names, revoke_key, rotate_key
from core.access.rows import Keys
from core.access.rules import ApiKey
from core.audit.record import verify_audit
from core.audit.rows import AuditTrail
from core.audit.rules import Action, AuditFilter
from core.database.work import Work
from core.errors import FieldInvalid, PerennialError
from core.principal import Principal, Role
from core.values import KeyId

router = Routes(prefix=PAGES, route_class=PageRoute, include_in_schema=False)

KEYS, EVENTS = 40, 40  # of a page
LONGEST_OVERLAP = 24 * 30  # hours
CHECKED_AT_ONCE = 5000  # events; a longer chain is checked when somebody asks

Fields = Mapping[str, str]


@router.get("/keys", Role.ADMIN)
def show_keys(asked: PageRequest, after: After = None) -> Response:
    """Show API keys, oldest first, and a form that makes one."""
    return _list(asked, after)


@router.post("/keys", Role.ADMIN)
def make_key(asked: PageRequest, principal: CurrentPrincipal, fields: SentForm) -> Response:
    """Make a key, and show its secret."""
    try:
        key, secret = create_key(
            asked.platform,
            name=fields.get("name", ""),
            role=_role(fields),
            models=names_field(fields, "models") or None,
            expires_at=_end_of(fields.get("expires", "")),
        )
    except PerennialError as refusal:
        return _list(asked, None, fields, refusal)
    return _one(asked, principal, key.id, secret=secret)


@router.get("/keys/{key}", Role.ADMIN)
def show_key(key: str, asked: PageRequest, principal: CurrentPrincipal) -> Response:
    """Show a key, by id or name."""
    return _one(asked, principal, key)


@router.post("/keys/{key}/rotate", Role.ADMIN)
def give_new_secret(
    key: str, asked: PageRequest, principal: CurrentPrincipal, fields: SentForm
) -> Response:
    """Give a key a new secret, and show it."""
    try:
        rotated, secret = rotate_key(asked.platform, key, _overlap(fields))
    except PerennialError as refusal:
        return _one(asked, principal, key, refusal=refusal)
    return _one(asked, principal, rotated.id, secret=secret)


@router.post("/keys/{key}/revoke", Role.ADMIN)
def end_key(key: str, asked: PageRequest, principal: CurrentPrincipal, _form: SentForm) -> Response:
    """Revoke a key for ever."""
    try:
        revoke_key(asked.platform, key)
    except PerennialError as refusal:
        return _one(asked, principal, key, refusal=refusal)
    return RedirectResponse(f"{PAGES}/keys/{key}", 303)


def _list(
    asked: PageRequest,
    after: str | None,
    sent: Fields | None = None,
    refusal: PerennialError | None = None,
) -> Response:
    now = asked.platform.clock()
    with asked.platform.transactions(read_only=True) as work:
        keys = work[Keys].page(KEYS + 1, after)
        uses = work[Keys].last_uses([key.id for key in keys])
        rows = [_known(work, key, now, uses) for key in keys[:KEYS]]
    return asked.page(
        "administration/keys.html",
        rows=rows,
        next=keys[KEYS - 1].id if len(keys) > KEYS else None,
        roles=[role.value for role in Role],
        sent=sent or {},
        refusal=refusal,
        now=now,
    )


def _one(
    asked: PageRequest,
    principal: Principal,
    reference: str,
    *,
    secret: str | None = None,
    refusal: PerennialError | None = None,
) -> Response:
    now = asked.platform.clock()
    with asked.platform.transactions(read_only=True) as work:
        key = work[Keys].get(reference)
        known = _known(work, key, now, work[Keys].last_uses([key.id]))
    return asked.page(
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
    work: Work, key: ApiKey, now: datetime, uses: Mapping[KeyId, datetime]
) -> dict[str, Any]:
    """Return a key with the names of its models, its state, its last use and its last change."""
    changes = work[AuditTrail].page(1, None, AuditFilter(actor=key.name))
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


# Audit events: who changed what, when and why, and whether their chain holds.


@router.get("/audit", Role.ADMIN)
def show_audit(
    asked: PageRequest,
    actor: Text = "",
    action: Text = "",
    model: Text = "",
    since: Chosen[Day] = None,
    until: Chosen[Day] = None,
    after: AfterNumber = None,
) -> Response:
    """Show audit events, newest first; an empty field of the filter takes every event."""
    wanted = AuditFilter(
        actor=actor or None,
        action=action or None,
        subject=f"models/{model}" if model else None,
        since=start_of(since),
        until=end_of(until),
    )
    start = number_after(after) if after is not None else None
    with asked.platform.transactions(read_only=True) as work:
        rows = work[AuditTrail].page(EVENTS + 1, start, wanted)
        head = work[AuditTrail].head()
    chosen = {"actor": actor, "action": action, "model": model, "since": since, "until": until}
    return asked.page(
        "administration/audit.html",
        events=[(row, address_of(row.change.subject)) for row in rows[:EVENTS]],
        next=rows[EVENTS - 1].sequence if len(rows) > EVENTS else None,
        chosen={name: str(value) for name, value in chosen.items() if value},
        actions=[one.value for one in Action],
        count=head.sequence,
        at_once=head.sequence <= CHECKED_AT_ONCE,
    )


@router.get("/audit/chain", Role.ADMIN)
def show_chain(asked: PageRequest) -> Response:
    """Recompute the chain of hashes, and show whether it holds."""
    part = "hx-request" in asked.request.headers
    found: dict[str, Any] = {"check": verify_audit(asked.platform)}
    return asked.page(f"administration/audit_chain{'_part' if part else ''}.html", **found)


def address_of(subject: str) -> str | None:
    """Return the page of what an event is about; None if it has none."""
    match subject.split("/"):
        case ["models", model, "versions", version, *_] if version.isdecimal():
            return f"{PAGES}/models/{model}/versions/{version}"
        case ["models", model, *_]:
            return f"{PAGES}/models/{model}"
        case ["jobs", job, *_]:
            return f"{PAGES}/jobs/{job}"
        case ["api-keys", key]:
            return f"{PAGES}/keys/{key}"
        case ["webhooks", webhook, *_]:
            return f"{PAGES}/webhooks/{webhook}"
    return None
