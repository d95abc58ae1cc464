"""Webhooks and events; a test names only what it is about."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from core.database.work import Transactions
from core.outbox.rows import Outbox, Webhooks
from core.outbox.rules import Delivery, EventType, Message, OutboxEvent, Outcome, Webhook
from core.values import WebhookId
from core.webhooks.deliver import HttpWebhookClient
from tests.support.factories import NOW

_numbers = itertools.count(1)


def a_webhook(**changes: Any) -> Webhook:
    """A webhook that subscribes to everything."""
    made = Webhook(
        id=WebhookId(f"hook_{next(_numbers):06}"),
        url="https://ci.example.com/told",
        events=tuple(EventType),
        models=None,
        description="",
        secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        created_at=NOW,
    )
    return replace(made, **changes)


def an_event(about: str = "job_1", **changes: Any) -> OutboxEvent:
    made = OutboxEvent(
        id=f"evt_{next(_numbers):06}",
        type=EventType.JOB_FAILED,
        object=about,
        model=None,
        data={"job": about},
        at=NOW,
    )
    return replace(made, **changes)


def subscribed(transactions: Transactions, **changes: Any) -> Webhook:
    webhook = a_webhook(**changes)
    with transactions() as work:
        work[Webhooks].add(webhook)
        work.commit()
    return webhook


def happened(transactions: Transactions, *events: OutboxEvent) -> None:
    for event in events:
        with transactions() as work:
            work[Outbox].add(event)
            work.commit()


def deliveries_of(transactions: Transactions, webhook: Webhook) -> Sequence[Delivery]:
    with transactions(read_only=True) as work:
        return work[Outbox].page(webhook.id, 1000, None)[::-1]


def an_http_client(**changes: Any) -> HttpWebhookClient:
    """A client that reaches receivers of this machine."""
    return HttpWebhookClient(**{"seconds": 5.0, "allow_private": True} | changes)


class Client:
    """Sends nowhere, and answers as it is told: accepted, unless there is an outcome left."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.sent: list[tuple[str, Message]] = []

    def check(self, url: str) -> None:
        """Any URL is good."""

    def send(self, url: str, message: Message) -> Outcome:
        self.sent.append((url, message))
        return self.outcomes.pop(0) if self.outcomes else Outcome(response_status=204)


def refused(status: int = 500) -> Outcome:
    """The outcome of a response that is no success."""
    return Outcome(response_status=status, error={"code": "receiver_refused", "message": "no"})
