"""The page of audit events: who changed what, when and why, and whether their chain holds."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.dependencies import WiredServices
from api.http.paths import PAGES
from api.http.required_role import needs
from api.pages.browser.filters import Chosen, Day, Text, end_of, start_of
from api.pages.browser.page_route import PageRoute
from api.pages.browser.rendering import page
from api.schemas.common import AfterNumber, number_after
from core.domain.access.audit import Action
from core.domain.access.roles import Role
from core.ports import AuditFilter
from core.use_cases.access.verify_audit import verify_audit

router = APIRouter(prefix=f"{PAGES}/audit", route_class=PageRoute, include_in_schema=False)

EVENTS = 40
CHECKED_AT_ONCE = 5000  # events; a longer chain is checked when somebody asks


@router.get("", openapi_extra=needs(Role.ADMIN))
def show_audit(
    request: Request,
    services: WiredServices,
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
    with services.platform.transactions(read_only=True) as work:
        rows = work.audit.page(EVENTS + 1, start, wanted)
        head = work.audit.head()
    chosen = {"actor": actor, "action": action, "model": model, "since": since, "until": until}
    return page(
        request,
        "administration/audit.html",
        events=[(row, address_of(row.change.subject)) for row in rows[:EVENTS]],
        next=rows[EVENTS - 1].sequence if len(rows) > EVENTS else None,
        chosen={name: str(value) for name, value in chosen.items() if value},
        actions=[one.value for one in Action],
        count=head.sequence,
        at_once=head.sequence <= CHECKED_AT_ONCE,
        now=services.platform.clock(),
    )


@router.get("/chain", openapi_extra=needs(Role.ADMIN))
def show_chain(request: Request, services: WiredServices) -> Response:
    """Recompute the chain of hashes, and show whether it holds."""
    part = "hx-request" in request.headers
    found: dict[str, Any] = {"check": verify_audit(services.platform)}
    return page(request, f"administration/audit_chain{'_part' if part else ''}.html", **found)


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
