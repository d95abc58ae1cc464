"""Routes of audit events."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import WiredServices
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from api.schemas.access import AuditEventView, ChainView
from api.schemas.common import AfterNumber, Limit, Page, Time, number_after, page_of
from core.domain.access.roles import Role
from core.ports import AuditFilter
from core.use_cases.access.verify_audit import verify_audit

router = APIRouter(prefix="/v1/audit-events", tags=["access"], route_class=ThreadRoute)

Text = Annotated[str | None, Query(max_length=300)]
Subject = Annotated[
    str | None,
    Query(
        max_length=300,
        examples=["models/demo"],
        description="A path without /v1; what is below it is listed too.",
    ),
]
Until = Annotated[Time | None, Query(description="Exclusive.")]


@router.get("", openapi_extra=needs(Role.ADMIN))
def list_audit_events(
    services: WiredServices,
    limit: Limit = 50,
    after: AfterNumber = None,
    actor: Text = None,
    action: Text = None,
    subject: Subject = None,
    since: Time | None = None,
    until: Until = None,
) -> Page[AuditEventView]:
    """List what was changed, by whom and why, newest first."""
    wanted = AuditFilter(actor=actor, action=action, subject=subject, since=since, until=until)
    start = number_after(after) if after is not None else None
    with services.platform.transactions(read_only=True) as work:
        rows = work.audit.page(limit + 1, start, wanted)
    return page_of(rows, limit, AuditEventView.of, lambda row: row.sequence)


@router.get("/verification", openapi_extra=needs(Role.ADMIN))
def verify_audit_events(services: WiredServices) -> ChainView:
    """Recompute the chain of hashes; return the first event that does not fit, if any."""
    return ChainView.of(verify_audit(services.platform))
