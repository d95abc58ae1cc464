"""The sender's threads: slow receivers, faults, its end, and a limit on what is sent at once."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Semaphore
from typing import Any

import pytest

from core.database.work import Work
from core.errors import DatabaseUnavailable
from core.outbox.rules import Message, Outcome, Webhook
from core.platform import Platform
from tests.support.processes import wait_for
from tests.support.scene import Scene
from tests.support.servers.receiver import Receiver, receiving
from tests.support.webhooks import (
    Client,
    an_event,
    an_http_client,
    deliveries_of,
    happened,
    refused,
    subscribed,
)
from worker.supervision.threads import WebhookSender


@pytest.fixture
def platform(scene: Scene) -> Platform:
    """A platform whose clock stands still, so that nothing is tried again."""
    return scene.platform


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


def test_a_slow_receiver_holds_up_no_other(platform: Platform, receiver: Receiver) -> None:
    with receiving() as slow:
        slow.may_answer.clear()
        slow_hook = subscribed(platform.transactions, url=slow.url)
        fast_hook = subscribed(platform.transactions, url=receiver.url)
        events = [an_event(f"job_{n}") for n in range(5)]
        happened(platform.transactions, *events)
        with sending(platform, an_http_client()):
            wait_for(lambda: statuses(platform, fast_hook) == ["delivered"] * 5, seconds=20)
            assert statuses(platform, slow_hook) == ["pending"] * 5
            slow.may_answer.set()
        assert sorted(receiver.events) == sorted(one.id for one in events)


def test_a_stopped_sender_records_what_is_under_way_and_claims_no_more(
    platform: Platform, receiver: Receiver
) -> None:
    webhook = subscribed(platform.transactions, url=receiver.url)
    happened(platform.transactions, an_event("a"), an_event("b"))
    receiver.may_answer.clear()
    with sending(platform, an_http_client()) as sender:
        wait_for(lambda: receiver.received, seconds=20)
        sender.stop()
        receiver.may_answer.set()
    assert statuses(platform, webhook) == ["delivered", "pending"]


def test_a_sender_outlives_a_lost_database_and_an_unexpected_error(platform: Platform) -> None:
    webhook = subscribed(platform.transactions)
    happened(platform.transactions, an_event())
    troubles: list[Exception] = [DatabaseUnavailable(), ZeroDivisionError()]
    real = platform.transactions

    def flaky(*, read_only: bool = False) -> Work:
        if troubles:
            raise troubles.pop()
        return real(read_only=read_only)

    with sending(replace(platform, transactions=flaky), Client()):
        wait_for(lambda: statuses(platform, webhook) == ["delivered"], seconds=20)


def test_a_client_that_fails_holds_up_no_other_webhook(
    platform: Platform, log: pytest.LogCaptureFixture
) -> None:
    class Failing(Client):
        def send(self, url: str, message: Message) -> Outcome:
            if url == first.url:
                raise ZeroDivisionError
            return super().send(url, message)

    first = subscribed(platform.transactions, url="https://first.example.com/")
    second = subscribed(platform.transactions)
    happened(platform.transactions, an_event())
    with sending(platform, Failing(), at_once=1):
        wait_for(lambda: statuses(platform, second) == ["delivered"], seconds=20)
    assert statuses(platform, first) == ["pending"]
    assert "ZeroDivisionError" in log.text


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
