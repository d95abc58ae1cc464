"""Verify the chain of audit events."""

from dataclasses import dataclass

from core.domain.access.audit import AuditHead, first_break
from core.ports import Platform

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
        last = work.audit.last()  # read before the head, which is never behind it
        head, reached = work.audit.head(), AuditHead()
        while reached.sequence < head.sequence:
            events = work.audit.between(reached.sequence, head.sequence, BATCH)
            broken = first_break(events, reached) if events else reached.sequence + 1
            if broken is not None:
                return ChainCheck(head=head, broken_at=broken)
            reached = AuditHead.of(events[-1])
    if reached != head:
        return ChainCheck(head=head, broken_at=head.sequence)
    return ChainCheck(head=head, broken_at=head.sequence + 1 if last > head.sequence else None)
