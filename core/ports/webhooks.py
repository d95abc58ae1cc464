"""Ports for webhooks, the outbox of their deliveries, and what sends these."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from core.domain.values import DeliveryId, WebhookId
from core.domain.webhooks.delivery import Delivery, Outcome
from core.domain.webhooks.event import OutboxEvent
from core.domain.webhooks.webhook import Webhook


class Webhooks(Protocol):
    def add(self, webhook: Webhook) -> None: ...

    def get(self, webhook: WebhookId, *, lock: bool = False) -> Webhook:
        """Return a webhook; `lock` keeps others from changing it before commit.

        Raises WebhookNotFound.
        """

    def page(self, limit: int, after: str | None) -> Sequence[Webhook]:
        """Return a page of webhooks, oldest first."""

    def save(self, webhook: Webhook) -> None:
        """Write a webhook as it is now."""

    def delete(self, webhook: WebhookId) -> None:
        """Delete a webhook and its deliveries. Raises WebhookNotFound."""


class Outbox(Protocol):
    def add(self, event: OutboxEvent) -> None:
        """Write a delivery of an event for each webhook that subscribes to it.

        Call it in the transaction of the change that the event reports, while the changed row is
        locked: events of one object are delivered in the order in which they were added.
        """

    def add_delivery(self, delivery: Delivery) -> None: ...

    def get(self, webhook: WebhookId, delivery: DeliveryId) -> Delivery:
        """Return a delivery of a webhook. Raises DeliveryNotFound."""

    def page(self, webhook: WebhookId, limit: int, after: str | None) -> Sequence[Delivery]:
        """Return a page of a webhook's deliveries, newest first."""

    def is_due(self, now: datetime) -> bool:
        """Return whether `claim` would find a delivery now (cheap)."""

    def claim(self, now: datetime, lease_s: float) -> Delivery | None:
        """Claim a due delivery by one conditional update; return None if there is none.

        A delivery is due if its webhook is not paused, its time has come and no earlier delivery of
        the same webhook and object is pending. A webhook has one claimed delivery at a time, and
        a claim expires after `lease_s` seconds by the database's clock. A claim increments fence
        and attempts.
        """

    def settle(self, delivery: Delivery) -> bool:
        """Write what came of an attempt if its fence still holds; return whether it does."""

    def redeliver(self, delivery: Delivery) -> None:
        """Write a delivery that is due again, whoever is sending it."""

    def forget(self, before: datetime) -> int:
        """Delete deliveries created before a time; return how many."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """A signed request to a receiver."""

    id: str  # of the event
    at: datetime
    body: bytes
    secrets: tuple[str, ...] = field(repr=False)  # each signs


class WebhookClient(Protocol):
    def check(self, url: str) -> None:
        """Raise UrlForbidden unless messages may be sent to a URL, as its host resolves now."""

    def send(self, url: str, message: Message) -> Outcome:
        """Send a message once, within the time that the settings allow. Never raises."""
