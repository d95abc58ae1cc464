"""The outbox: deliveries, written in the transaction of the change that they report."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from core.adapters.database.tables.webhooks import deliveries
from core.adapters.database.webhooks import claims
from core.adapters.database.webhooks.rows import DELIVERY_COLUMNS, to_delivery, to_row
from core.adapters.database.webhooks.webhooks import subscribers
from core.domain.values import DeliveryId, WebhookId
from core.domain.webhooks.delivery import Delivery, delivery_of
from core.domain.webhooks.event import OutboxEvent
from core.errors import DeliveryNotFound


class SqlOutbox:
    """The `Outbox` port over SQL."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, event: OutboxEvent) -> None:
        """Write a delivery of an event for each webhook that subscribes to it."""
        found = subscribers(self._connection, event)
        if found:
            rows = [to_row(delivery_of(event, webhook.id)) for webhook in found]
            self._connection.execute(insert(deliveries), rows)

    def add_delivery(self, delivery: Delivery) -> None:
        """Write a delivery."""
        self._connection.execute(insert(deliveries).values(to_row(delivery)))

    def get(self, webhook: WebhookId, delivery: DeliveryId) -> Delivery:
        """Return a delivery of a webhook. Raises DeliveryNotFound."""
        query = select(*DELIVERY_COLUMNS).where(
            deliveries.c.id == delivery, deliveries.c.webhook == webhook
        )
        row = self._connection.execute(query).first()
        if row is None:
            raise DeliveryNotFound(delivery=delivery)
        return to_delivery(row)

    def page(self, webhook: WebhookId, limit: int, after: str | None) -> Sequence[Delivery]:
        """Return a page of a webhook's deliveries, newest first; `after` is an id of it."""
        query = (
            select(*DELIVERY_COLUMNS)
            .where(deliveries.c.webhook == webhook)
            .order_by(deliveries.c.position.desc())
            .limit(limit)
        )
        if after is not None:
            earlier = deliveries.alias("earlier")
            last = select(earlier.c.position).where(earlier.c.id == after)
            query = query.where(deliveries.c.position < last.scalar_subquery())
        return [to_delivery(row) for row in self._connection.execute(query)]

    def is_due(self, now: datetime) -> bool:
        """Return whether `claim` would find a delivery now."""
        return self._connection.execute(claims.due(now)).first() is not None

    def claim(self, now: datetime, lease_s: float) -> Delivery | None:
        """Claim a due delivery; return None if there is none, or if another claim was faster."""
        position = claims.lock_next(self._connection, now)
        row: Row[Any] | None = None
        if position is not None:
            row = claims.take(self._connection, position, now, lease_s)
        return to_delivery(row) if row is not None else None

    def settle(self, delivery: Delivery) -> bool:
        """Write what came of an attempt if its fence still holds; return whether it does."""
        written = self._connection.execute(
            update(deliveries)
            .where(
                deliveries.c.id == delivery.id,
                deliveries.c.fence == delivery.fence,
                deliveries.c.lease_until.is_not(None),
            )
            .values(**to_row(delivery), lease_until=None)
        )
        return written.rowcount == 1

    def redeliver(self, delivery: Delivery) -> None:
        """Write a delivery that is due again; what comes of an attempt under way is not written."""
        self._connection.execute(
            update(deliveries)
            .where(deliveries.c.id == delivery.id)
            .values({**to_row(delivery), "fence": deliveries.c.fence + 1, "lease_until": None})
        )

    def forget(self, before: datetime) -> int:
        """Delete deliveries created before a time; return how many."""
        old = delete(deliveries).where(deliveries.c.created_at < before)
        return self._connection.execute(old).rowcount
