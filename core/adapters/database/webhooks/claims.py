"""The choice of the next delivery, and the conditional update that claims it."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    String,
    and_,
    exists,
    literal,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from core.adapters.database.clock import epoch_now
from core.adapters.database.tables.webhooks import deliveries, webhooks
from core.adapters.database.webhooks.rows import DELIVERY_COLUMNS
from core.domain.webhooks.delivery import DeliveryStatus

_others = deliveries.alias("others")
# Rendered into the SQL, since neither database would match a parameter to the partial index.
_PENDING = literal(DeliveryStatus.PENDING.value, String, literal_execute=True)


def _is_due(now: datetime) -> ColumnElement[bool]:
    """Return the condition that a delivery may be claimed.

    Its time has come, no claim holds it, its webhook is not paused and has no other claimed
    delivery, and no earlier one of the same webhook and object is pending. The first attempt is
    due at once, whatever the clock of the machine where the event happened. A lost claim is due
    before the webhook's other deliveries: these wait for it, even an earlier one that was
    redelivered meanwhile.
    """
    theirs = _others.c.webhook == deliveries.c.webhook
    earlier = exists().where(
        theirs,
        _others.c.object == deliveries.c.object,
        _others.c.status == _PENDING,
        _others.c.position < deliveries.c.position,
    )
    claimed = exists().where(
        theirs,
        _others.c.lease_until.is_not(None),
        _others.c.position != deliveries.c.position,
    )
    lost = deliveries.c.lease_until < epoch_now()
    its_time = or_(deliveries.c.attempts == 0, deliveries.c.next_attempt_at <= now)
    paused = exists().where(webhooks.c.id == deliveries.c.webhook, webhooks.c.paused)
    return and_(
        deliveries.c.status == _PENDING,
        or_(lost, and_(deliveries.c.lease_until.is_(None), its_time, not_(earlier))),
        not_(paused),
        not_(claimed),
    )


def due(now: datetime) -> Select[Any]:
    """Select the position of the delivery that has been due for longest."""
    return (
        select(deliveries.c.position)
        .where(_is_due(now))
        .order_by(deliveries.c.next_attempt_at, deliveries.c.position)
        .limit(1)
    )


def lock_next(connection: Connection, now: datetime) -> int | None:
    """Return the position of the next due delivery, and lock it against other claims.

    Only PostgreSQL locks, and skips deliveries that another claim has locked; SQLite's write
    transactions run one at a time anyway.
    """
    position: int | None = connection.scalar(
        due(now).with_for_update(of=deliveries, skip_locked=True, key_share=True)
    )
    return position


def take(connection: Connection, position: int, now: datetime, lease_s: float) -> Row[Any] | None:
    """Claim the delivery if it is still due; return its row, or None.

    Two claims may choose two deliveries of one webhook at once on PostgreSQL. The index
    `ux_webhook_deliveries_claimed` lets only one of them be claimed.
    """
    claim = (
        update(deliveries)
        .where(deliveries.c.position == position, _is_due(now))
        .values(
            lease_until=epoch_now() + lease_s,
            fence=deliveries.c.fence + 1,
            attempts=deliveries.c.attempts + 1,
        )
        .returning(*DELIVERY_COLUMNS)
    )
    try:
        with connection.begin_nested():
            return connection.execute(claim).first()
    except IntegrityError:
        return None
