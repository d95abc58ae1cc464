"""Claim, send, record: nothing is lost, whenever the sender is killed or a receiver is slow."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from core.database.tables import deliveries
from core.jobs.claim_rows import Counters
from core.jobs.rules import CounterValue
from core.operations.maintenance import delete_expired
from core.outbox.rows import Outbox
from core.outbox.rules import DELIVERIES_ENDED, Delivery, DeliveryStatus, Message
from core.platform import Platform
from core.webhooks.deliver import ClaimedDelivery, claim_delivery, send_claimed
from tests.support.factories import NOW
from tests.support.scene import Scene
from tests.support.servers.receiver import Receiver
from tests.support.storage.databases import writing
from tests.support.webhooks import (
    Client,
    an_event,
    an_http_client,
    deliveries_of,
    happened,
    refused,
    subscribed,
)


class Clock:
    """A clock that is put forward by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def platform(scene: Scene, clock: Clock) -> Platform:
    """A platform whose clock stands still unless it is put forward."""
    return replace(scene.platform, clock=clock)


def deliver(platform: Platform, client: Any) -> Delivery:
    """One delivery, as it is after an attempt."""
    found = claim_delivery(platform)
    send_claimed(platform, client, found, draw=lambda: 0.0)
    with platform.transactions(read_only=True) as work:
        return work[Outbox].get(found.webhook.id, found.delivery.id)


def expire(platform: Platform, url: str) -> None:
    """Let the claim of a killed sender expire."""
    assert claim_delivery(platform) is None
    with writing(url) as connection:
        held = deliveries.c.lease_until.is_not(None)
        connection.execute(update(deliveries).where(held).values(lease_until=0.0))


def test_after_a_day_of_attempts_it_has_failed_and_counts(platform: Platform, clock: Clock) -> None:
    subscribed(platform.transactions)
    happened(platform.transactions, an_event())
    client = Client(*[refused()] * 11)
    for _ in range(11):
        tried = deliver(platform, client)
        clock.forward(30_000)
    assert tried.status is DeliveryStatus.FAILED
    assert claim_delivery(platform) is None
    with platform.transactions(read_only=True) as work:
        assert work[Counters].all() == [
            CounterValue(name=DELIVERIES_ENDED, labels={"status": "failed"}, value=1.0)
        ]


def test_a_sender_killed_before_it_sent_or_recorded_loses_nothing(
    platform: Platform, url: str, receiver: Receiver
) -> None:
    webhook = subscribed(platform.transactions, url=receiver.url)
    first, second = an_event("a"), an_event("a")
    happened(platform.transactions, first, second)
    claim_delivery(platform)
    expire(platform, url)  # it was killed before it sent
    killed = claim_delivery(platform)
    assert an_http_client().send(killed.webhook.url, message_of(killed)).error is None
    expire(platform, url)  # it was killed before it recorded
    for _ in range(2):
        deliver(platform, an_http_client())
    assert receiver.events == [first.id, first.id, second.id]
    statuses = [one.status for one in deliveries_of(platform.transactions, webhook)]
    assert statuses == [DeliveryStatus.DELIVERED] * 2


def message_of(claim: ClaimedDelivery) -> Message:
    return Message(
        id=claim.delivery.event, at=NOW, body=b"{}", secrets=claim.webhook.secrets_at(NOW)
    )


def test_what_a_stale_sender_records_is_refused(
    platform: Platform, url: str, log: pytest.LogCaptureFixture
) -> None:
    webhook = subscribed(platform.transactions)
    happened(platform.transactions, an_event())
    stale = claim_delivery(platform)
    expire(platform, url)
    present = claim_delivery(platform)
    send_claimed(platform, Client(), stale)
    assert deliveries_of(platform.transactions, webhook) == [present.delivery]
    assert "the claim was lost" in log.text
    with platform.transactions(read_only=True) as work:
        assert work[Counters].all() == []


def test_deliveries_are_forgotten_after_two_weeks(platform: Platform, clock: Clock) -> None:
    webhook = subscribed(platform.transactions, paused=True)
    happened(platform.transactions, an_event())
    for days, left in ((13.9, 1), (0.2, 0)):
        clock.forward(days * 24 * 3600)
        delete_expired(platform)
        assert len(deliveries_of(platform.transactions, webhook)) == left
