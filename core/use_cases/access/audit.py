"""Record audit events."""

from datetime import datetime

from core.domain.access.audit import Action, Change
from core.domain.values import Json
from core.ports import UnitOfWork


def record(
    work: UnitOfWork,
    action: Action,
    subject: str,
    *,
    now: datetime,
    before: Json | None = None,
    after: Json | None = None,
    reason: str = "",
    actor: str | None = None,
) -> None:
    """Record a change by the transaction's principal; its commit writes the event.

    `subject` is a path without /v1, such as models/demo/aliases/production. `before` and `after`
    are plain JSON, None where there is nothing to say. `actor` is given by jobs, which act
    by themselves.
    """
    principal = work.principal
    work.audit.add(
        Change(
            actor=actor or principal.name,
            key=principal.key,
            action=action,
            subject=subject,
            before=before,
            after=after,
            reason=reason,
            request_id=principal.request_id,
            at=now,
        )
    )
