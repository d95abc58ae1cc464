"""Webhooks, with their secrets."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, insert, select, update

from core.adapters.database.statements import page_by_id
from core.adapters.database.tables.webhooks import webhooks
from core.domain.values import WebhookId
from core.domain.webhooks.event import OutboxEvent
from core.domain.webhooks.webhook import Webhook
from core.errors import WebhookNotFound


class SqlWebhooks:
    """The `Webhooks` port over SQL."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, webhook: Webhook) -> None:
        """Store a webhook."""
        self._connection.execute(insert(webhooks).values(_to_row(webhook)))

    def get(self, webhook: WebhookId, *, lock: bool = False) -> Webhook:
        """Return a webhook; `lock` keeps others from changing it until commit.

        Raises WebhookNotFound.
        """
        query = select(webhooks).where(webhooks.c.id == webhook)
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
        written = update(webhooks).where(webhooks.c.id == webhook.id).values(_to_row(webhook))
        self._connection.execute(written)

    def delete(self, webhook: WebhookId) -> None:
        """Delete a webhook and its deliveries. Raises WebhookNotFound."""
        gone = self._connection.execute(delete(webhooks).where(webhooks.c.id == webhook))
        if gone.rowcount == 0:
            raise WebhookNotFound(webhook=webhook)


def subscribers(connection: Connection, event: OutboxEvent) -> Sequence[Webhook]:
    """Return the webhooks that receive an event, and keep them from being deleted until commit."""
    found = map(_to_webhook, connection.execute(_shared()))
    return [webhook for webhook in found if webhook.subscribes(event)]


# Building a statement takes longer than running it.
@cache
def _shared() -> Select[Any]:
    shared: Select[Any] = select(webhooks).order_by(webhooks.c.id)
    return shared.with_for_update(read=True, key_share=True)


def _to_row(webhook: Webhook) -> dict[str, Any]:
    models = None if webhook.models is None else list(webhook.models)
    return {**vars(webhook), "events": list(webhook.events), "models": models}


def _to_webhook(row: Row[Any]) -> Webhook:
    models = None if row.models is None else tuple(row.models)
    return Webhook(**{**row._mapping, "events": tuple(row.events), "models": models})
