"""Rows of webhooks and of the outbox: their deliveries."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from core.database.engine import epoch_now
from core.database.statements import page_by_id
from core.database.tables import deliveries, webhooks
from core.database.work import Rows
from core.errors import DeliveryNotFound, WebhookNotFound
from core.outbox.rules import Delivery, DeliveryStatus, OutboxEvent, Webhook, delivery_of
from core.values import DeliveryId, WebhookId, from_plain


class Webhooks(Rows):
    """Rows of webhooks, with their secrets."""

    def add(self, webhook: Webhook) -> None:
        """Store a webhook."""
        self._connection.execute(sa.insert(webhooks).values(vars(webhook)))

    def get(self, webhook: WebhookId, *, lock: bool = False) -> Webhook:
        """Return a webhook; `lock` keeps others from changing it until commit.

        Raises WebhookNotFound.
        """
        query = sa.select(webhooks).where(webhooks.c.id == webhook)
        if lock:  # SQLite's write transactions run one at a time anyway
            query = query.with_for_update(key_share=True)
        row = self._connection.execute(query).first()
        if row is None:
            raise WebhookNotFound(webhook=webhook)
        return _to_webhook(row)

    def page(self, limit: int, after: str | None) -> Sequence[Webhook]:
        """Return a page of webhooks, oldest first; `after` is the last id of the previous page."""
        return [_to_webhook(row) for row in page_by_id(self._connection, webhooks, limit, after)]

    def save(self, webhook: Webhook) -> None:
        """Write a webhook as it is now."""
        written = sa.update(webhooks).where(webhooks.c.id == webhook.id).values(vars(webhook))
        self._connection.execute(written)

    def delete(self, webhook: WebhookId) -> None:
        """Delete a webhook and its deliveries. Raises WebhookNotFound."""
        gone = self._connection.execute(sa.delete(webhooks).where(webhooks.c.id == webhook))
        if gone.rowcount == 0:
            raise WebhookNotFound(webhook=webhook)


# Building a statement takes longer than running it.
@cache
def _shared() -> sa.Select[Any]:
    shared: sa.Select[Any] = sa.select(webhooks).order_by(webhooks.c.id)
    return shared.with_for_update(read=True, key_share=True)


def _to_webhook(row: sa.Row[Any]) -> Webhook:
    return from_plain(Webhook, row._mapping)


class Outbox(Rows):
    """Rows of deliveries, written in the transaction of the change that they report."""

    def add(self, event: OutboxEvent) -> None:
        """Write a delivery of an event for each webhook that subscribes to it.

        Call it in the transaction of the change that the event reports, while the changed row is
        locked: events of one object are delivered in the order in which they were added.
        """
        found = map(_to_webhook, self._connection.execute(_shared()))  # they stay until commit
        rows = [vars(delivery_of(event, one.id)) for one in found if one.subscribes(event)]
        if rows:
            self._connection.execute(sa.insert(deliveries), rows)

    def add_delivery(self, delivery: Delivery) -> None:
        """Write a delivery."""
        self._connection.execute(sa.insert(deliveries).values(vars(delivery)))

    def get(self, webhook: WebhookId, delivery: DeliveryId) -> Delivery:
        """Return a delivery of a webhook. Raises DeliveryNotFound."""
        query = sa.select(*DELIVERY_COLUMNS).where(
            deliveries.c.id == delivery, deliveries.c.webhook == webhook
        )
        row = self._connection.execute(query).first()
        if row is None:
            raise DeliveryNotFound(delivery=delivery)
        return to_delivery(row)

    def page(self, webhook: WebhookId, limit: int, after: str | None) -> Sequence[Delivery]:
        """Return a page of a webhook's deliveries, newest first; `after` is an id of it."""
        query = (
            sa.select(*DELIVERY_COLUMNS)
            .where(deliveries.c.webhook == webhook)
            .order_by(deliveries.c.position.desc())
            .limit(limit)
        )
        if after is not None:
            earlier = deliveries.alias("earlier")
            last = sa.select(earlier.c.position).where(earlier.c.id == after)
            query = query.where(deliveries.c.position < last.scalar_subquery())
        return [to_delivery(row) for row in self._connection.execute(query)]

    def is_due(self, now: datetime) -> bool:
        """Return whether `claim` would find a delivery now."""
        return self._connection.execute(due(now)).first() is not None

    def claim(self, now: datetime, lease_s: float) -> Delivery | None:
        """Claim a due delivery by one conditional update; return None if there is none.

        A delivery is due if its webhook is not paused, its time has come and no earlier delivery of
        the same webhook and object is pending. A webhook has one claimed delivery at a time, and
        a claim expires after `lease_s` seconds by the database's clock. A claim increments fence
        and attempts.
        """
        # Only PostgreSQL locks, and skips deliveries that another claim has locked; SQLite's write
        # transactions run one at a time anyway.
        locked = due(now).with_for_update(of=deliveries, skip_locked=True, key_share=True)
        position = self._connection.scalar(locked)
        row = None if position is None else take(self._connection, position, now, lease_s)
        return to_delivery(row) if row is not None else None

    def settle(self, delivery: Delivery) -> bool:
        """Write what came of an attempt if its fence still holds; return whether it does."""
        written = self._connection.execute(
            sa.update(deliveries)
            .where(
                deliveries.c.id == delivery.id,
                deliveries.c.fence == delivery.fence,
                deliveries.c.lease_until.is_not(None),
            )
            .values({**vars(delivery), "lease_until": None})
        )
        return written.rowcount == 1

    def redeliver(self, delivery: Delivery) -> None:
        """Write a delivery that is due again; what comes of an attempt under way is not written."""
        self._connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.id == delivery.id)
            .values({**vars(delivery), "fence": deliveries.c.fence + 1, "lease_until": None})
        )

    def forget(self, before: datetime) -> int:
        """Delete deliveries created before a time; return how many."""
        old = sa.delete(deliveries).where(deliveries.c.created_at < before)
        return self._connection.execute(old).rowcount


# The choice of the next delivery, and the conditional update that claims it.

_others = deliveries.alias("others")
# Rendered into the SQL, since neither database would match a parameter to the partial index.
_PENDING = sa.literal(DeliveryStatus.PENDING.value, sa.String, literal_execute=True)


def due(now: datetime) -> sa.Select[Any]:
    """Select the position of the delivery that has been due for longest."""
    return (
        sa.select(deliveries.c.position)
        .where(_is_due(now))
        .order_by(deliveries.c.next_attempt_at, deliveries.c.position)
        .limit(1)
    )


def take(
    connection: sa.Connection, position: int, now: datetime, lease_s: float
) -> sa.Row[Any] | None:
    """Claim the delivery if it is still due; return its row, or None.

    Two claims may choose two deliveries of one webhook at once on PostgreSQL. The index
    `ux_webhook_deliveries_claimed` lets only one of them be claimed.
    """
    claim = (
        sa.update(deliveries)
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


def _is_due(now: datetime) -> sa.ColumnElement[bool]:
    """Return the condition that a delivery may be claimed.

    Its time has come, no claim holds it, its webhook is not paused and has no other claimed
    delivery, and no earlier one of the same webhook and object is pending. The first attempt is
    due at once, whatever the clock of the machine where the event happened. A lost claim is due
    before the webhook's other deliveries: these wait for it, even an earlier one that was
    redelivered meanwhile.
    """
    theirs = _others.c.webhook == deliveries.c.webhook
    earlier = sa.exists().where(
        theirs,
        _others.c.object == deliveries.c.object,
        _others.c.status == _PENDING,
        _others.c.position < deliveries.c.position,
    )
    claimed = sa.exists().where(
        theirs,
        _others.c.lease_until.is_not(None),
        _others.c.position != deliveries.c.position,
    )
    lost = deliveries.c.lease_until < epoch_now()
    its_time = sa.or_(deliveries.c.attempts == 0, deliveries.c.next_attempt_at <= now)
    paused = sa.exists().where(webhooks.c.id == deliveries.c.webhook, webhooks.c.paused)
    return sa.and_(
        deliveries.c.status == _PENDING,
        sa.or_(lost, sa.and_(deliveries.c.lease_until.is_(None), its_time, sa.not_(earlier))),
        sa.not_(paused),
        sa.not_(claimed),
    )


# Conversion of rows to deliveries.

DELIVERY_COLUMNS = tuple(deliveries.c[name] for name in Delivery.__dataclass_fields__)


def to_delivery(row: sa.Row[Any]) -> Delivery:
    """Return the delivery of a row of DELIVERY_COLUMNS."""
    return Delivery(**{**row._mapping, "status": DeliveryStatus(row.status)})
