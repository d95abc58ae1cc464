"""Claim, send, record: nothing is lost, whenever the sender is killed."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Semaphore
from typing import Any

import pytest
from sqlalchemy import update

from core.adapters.database.tables.webhooks import deliveries
from core.adapters.webhooks.client import HttpWebhookClient
from core.domain.jobs.counter import CounterValue
from core.domain.webhooks.delivery import DELIVERIES_ENDED, Delivery, DeliveryStatus, Outcome
from core.domain.webhooks.webhook import Webhook
from core.errors import DatabaseUnavailable
from core.ports import Message, Platform, UnitOfWork
from core.settings import Settings
from core.use_cases.operations.maintenance import forget_old_traces
from core.use_cases.webhooks.deliver import ClaimedDelivery, claim_delivery, send_claimed
from core.use_cases.webhooks.redeliver import order_test, redeliver
from core.use_cases.webhooks.webhooks import rotate_secret
from tests.support.factories import NOW
from tests.support.processes import wait_for
from tests.support.receiver import Receiver, receiving
from tests.support.scene import Scene
from tests.support.webhooks import (
    Client,
    an_event,
    deliveries_of,
    happened,
    refused,
    subscribed,
)
from worker.supervision.webhook_sender import WebhookSender


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
    settings = Settings(webhook_private=True, webhook_seconds=5.0)
    return replace(scene.platform, clock=clock, settings=settings)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def claimed(platform: Platform) -> ClaimedDelivery:
    found = claim_delivery(platform)
    assert found is not None
    return found


def deliver(platform: Platform, client: Any) -> Delivery:
    """One delivery, as it is after an attempt."""
    found = claimed(platform)
    send_claimed(platform, client, found, draw=lambda: 0.0)
    with platform.transactions(read_only=True) as work:
        return work.outbox.get(found.webhook.id, found.delivery.id)


def die(platform: Platform, claim: ClaimedDelivery) -> None:
    """Let the claim of a killed sender expire."""
    assert claim_delivery(platform) is None
    with platform.transactions() as work:
        connection = work._connection  # type: ignore[attr-defined]
        held = deliveries.c.lease_until.is_not(None)
        connection.execute(update(deliveries).where(held).values(lease_until=0.0))
        work.commit()


def http(**changes: Any) -> HttpWebhookClient:
    return HttpWebhookClient(**{"seconds": 5.0, "allow_private": True} | changes)


def test_what_arrives_is_signed_by_the_webhooks_secrets(
    platform: Platform, receiver: Receiver
) -> None:
    webhook = subscribed(platform.transactions, url=receiver.url)
    rotated = rotate_secret(platform, webhook.id)
    platform = replace(platform, clock=time_now)
    event = an_event()
    happened(platform.transactions, event)
    assert deliver(platform, http()).status is DeliveryStatus.DELIVERED
    (got,) = receiver.received
    assert (got.event, got.payload) == (event.id, event.payload)
    got.verify(rotated.secret)


def time_now() -> datetime:
    """The real time, which receivers compare with."""
    return datetime.now(NOW.tzinfo)


def test_a_receiver_that_fails_is_tried_again_further_and_further_apart(
    platform: Platform, clock: Clock, receiver: Receiver
) -> None:
    webhook = subscribed(platform.transactions, url=receiver.url)
    happened(platform.transactions, an_event())
    receiver.statuses = [500, 503]
    waited = []
    for wait_s in (5, 30):
        tried = deliver(platform, http())
        assert (tried.status, tried.next_attempt_at) == (
            DeliveryStatus.PENDING,
            clock.now + timedelta(seconds=wait_s),
        )
        waited.append(tried.response_status)
        clock.forward(wait_s - 0.001)
        assert claim_delivery(platform) is None
        clock.forward(0.001)
    done = deliver(platform, http())
    assert (waited, done.status, done.attempts) == ([500, 503], DeliveryStatus.DELIVERED, 3)
    assert len(set(receiver.events)) == 1
    assert deliveries_of(platform.transactions, webhook) == [done]


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
        assert work.counters.all() == [
            CounterValue(name=DELIVERIES_ENDED, labels={"status": "failed"}, value=1.0)
        ]


def test_a_sender_killed_before_it_sent_or_recorded_loses_nothing(
    platform: Platform, receiver: Receiver
) -> None:
    webhook = subscribed(platform.transactions, url=receiver.url)
    first, second = an_event("a"), an_event("a")
    happened(platform.transactions, first, second)
    die(platform, claimed(platform))  # before it sent
    killed = claimed(platform)
    assert http().send(killed.webhook.url, message_of(killed)).error is None
    die(platform, killed)  # before it recorded
    for _ in range(2):
        deliver(platform, http())
    assert receiver.events == [first.id, first.id, second.id]
    statuses = [one.status for one in deliveries_of(platform.transactions, webhook)]
    assert statuses == [DeliveryStatus.DELIVERED] * 2


def message_of(claim: ClaimedDelivery) -> Message:
    return Message(
        id=claim.delivery.event, at=NOW, body=b"{}", secrets=claim.webhook.secrets_at(NOW)
    )


def test_what_a_stale_sender_records_is_refused(
    platform: Platform, log: pytest.LogCaptureFixture
) -> None:
    webhook = subscribed(platform.transactions)
    happened(platform.transactions, an_event())
    stale = claimed(platform)
    die(platform, stale)
    present = claimed(platform)
    send_claimed(platform, Client(), stale)
    assert deliveries_of(platform.transactions, webhook) == [present.delivery]
    assert "the claim was lost" in log.text
    with platform.transactions(read_only=True) as work:
        assert work.counters.all() == []


def test_a_test_event_goes_to_a_webhook_that_subscribes_to_nothing_like_it(
    platform: Platform,
) -> None:
    webhook = subscribed(platform.transactions, events=())
    ordered = order_test(platform, webhook.id)
    client = Client()
    assert deliver(platform, client).id == ordered.id
    ((_, message),) = client.sent
    assert message.body == (
        b'{"data":{"links":{"webhook":"/v1/webhooks/%(id)s"},"webhook":"%(id)s"},'
        b'"timestamp":"2026-03-01T12:00:00.123456+00:00","type":"webhook.test"}'
        % {b"id": webhook.id.encode()}
    )


def test_a_delivery_can_be_made_again_under_its_event_id(
    platform: Platform, receiver: Receiver
) -> None:
    webhook = subscribed(platform.transactions, url=receiver.url)
    happened(platform.transactions, an_event())
    done = deliver(platform, http())
    again = redeliver(platform, webhook.id, done.id)
    assert (again.status, again.id) == (DeliveryStatus.PENDING, done.id)
    assert deliver(platform, http()).status is DeliveryStatus.DELIVERED
    assert receiver.events == [done.event] * 2


def test_deliveries_are_forgotten_after_two_weeks(platform: Platform, clock: Clock) -> None:
    webhook = subscribed(platform.transactions, paused=True)
    happened(platform.transactions, an_event())
    for days, left in ((13.9, 1), (0.2, 0)):
        clock.forward(days * 24 * 3600)
        forget_old_traces(platform)
        assert len(deliveries_of(platform.transactions, webhook)) == left


# ---- The sender ------------------------------------------------------------------------------


@contextmanager
def sending(platform: Platform, client: Any, **changes: Any) -> Iterator[WebhookSender]:
    """A sender that is stopped at the end."""
    sender = WebhookSender(platform, client, **{"poll_s": 0.02} | changes)
    sender.start()
    try:
        yield sender
    finally:
        sender.stop()
        sender.join(10)


def statuses(platform: Platform, *webhooks: Webhook) -> Sequence[str]:
    return [
        one.status.value
        for webhook in webhooks
        for one in deliveries_of(platform.transactions, webhook)
    ]


def test_a_slow_receiver_holds_up_no_other(platform: Platform) -> None:
    with ExitStack() as stack:
        slow, fast = (stack.enter_context(receiving()) for _ in range(2))
        slow.pause_s = 1.0
        slow_hook = subscribed(platform.transactions, url=slow.url)
        fast_hook = subscribed(platform.transactions, url=fast.url)
        events = [an_event(f"job_{n}") for n in range(5)]
        happened(platform.transactions, *events)
        stack.enter_context(sending(platform, http()))
        wait_for(lambda: statuses(platform, fast_hook) == ["delivered"] * 5, seconds=20)
        assert "pending" in statuses(platform, slow_hook)
        assert sorted(fast.events) == sorted(one.id for one in events)


def test_a_stopped_sender_records_what_is_under_way_and_claims_no_more(
    platform: Platform, receiver: Receiver
) -> None:
    webhook = subscribed(platform.transactions, url=receiver.url)
    happened(platform.transactions, an_event("a"), an_event("b"))
    receiver.pause_s = 0.3
    with sending(platform, http()):
        wait_for(lambda: receiver.received, seconds=20)
    assert statuses(platform, webhook) == ["delivered", "pending"]


def test_a_sender_outlives_a_lost_database_and_a_client_that_fails(platform: Platform) -> None:
    webhook = subscribed(platform.transactions)
    happened(platform.transactions, an_event())
    troubles: list[Exception] = [DatabaseUnavailable(), ZeroDivisionError()]
    real = platform.transactions

    def flaky(*, read_only: bool = False) -> UnitOfWork:
        if troubles:
            raise troubles.pop()
        return real(read_only=read_only)

    with sending(replace(platform, transactions=flaky), Client()):
        wait_for(lambda: statuses(platform, webhook) == ["delivered"], seconds=20)


def test_at_most_so_many_are_sent_at_once(platform: Platform) -> None:
    places = Semaphore(2)

    class Counting(Client):
        def send(self, url: str, message: Message) -> Outcome:
            if not places.acquire(blocking=False):
                return refused()
            time.sleep(0.05)
            places.release()
            return super().send(url, message)

    webhooks = [subscribed(platform.transactions) for _ in range(5)]
    happened(platform.transactions, an_event())
    with sending(platform, Counting(), at_once=2):
        wait_for(lambda: statuses(platform, *webhooks) == ["delivered"] * 5, seconds=20)
