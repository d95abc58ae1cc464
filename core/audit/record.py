"""Record audit events, and check their chain."""

from dataclasses import dataclass
from datetime import datetime

from core.audit.rows import AuditTrail
from core.audit.rules import Action, AuditHead, Change, first_break
from core.database.work import Work
from core.platform import Platform
from core.values import Json


def record(
    work: Work,
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
    work[AuditTrail].add(
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


BATCH = 1000


@dataclass(frozen=True, kw_only=True)
class ChainCheck:
    """The last event's number and hash, and the first event that does not fit, if any."""

    head: AuditHead
    broken_at: int | None


def verify_audit(platform: Platform) -> ChainCheck:
    """Recompute every hash, and return the first event that was removed, edited or forged.

    Whoever can write to the database can also write a whole new chain: a hash that was noted
    elsewhere shows that too.
    """
    with platform.transactions(read_only=True) as work:
        last = work[AuditTrail].last()  # read before the head, which is never behind it
        head, reached = work[AuditTrail].head(), AuditHead()
        while reached.sequence < head.sequence:
            events = work[AuditTrail].between(reached.sequence, head.sequence, BATCH)
            broken = first_break(events, reached) if events else reached.sequence + 1
            if broken is not None:
                return ChainCheck(head=head, broken_at=broken)
            reached = AuditHead.of(events[-1])
    if reached != head:
        return ChainCheck(head=head, broken_at=head.sequence)
    return ChainCheck(head=head, broken_at=head.sequence + 1 if last > head.sequence else None)
