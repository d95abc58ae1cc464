"""Webhooks and the outbox: the deliveries that an event gives, their pages and their end."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from core.database.work import Transactions
from core.errors import DeliveryNotFound, WebhookNotFound
from core.operations.rows import Gauges
from core.outbox.rows import Outbox, Webhooks
from core.outbox.rules import DeliveryStatus, EventType, Outcome
from core.values import DeliveryId, ModelId, WebhookId
from tests.support.factories import NOW
from tests.support.webhooks import an_event, deliveries_of, happened, subscribed

LATER = NOW + timedelta(hours=1)


def test_webhook_is_kept_as_it_is(transactions: Transactions) -> None:
    first = subscribed(transactions)
    second = subscribed(transactions, models=(ModelId("model_1"),), events=(EventType.ALIAS_MOVED,))
    changed = replace(second.rotated("whsec_bmV3", NOW), paused=True)
    with transactions() as work:
        work[Webhooks].save(changed)
        work.commit()
    with transactions() as work:
        assert work[Webhooks].page(9, None) == [first, changed]
        assert work[Webhooks].page(9, first.id) == [changed]
        assert work[Webhooks].get(second.id, lock=True) == changed
        work[Webhooks].delete(first.id)
        for gone in (work[Webhooks].get, work[Webhooks].delete):
            with pytest.raises(WebhookNotFound):
                gone(first.id)


def test_an_event_is_delivered_to_the_webhooks_that_subscribe_to_it(
    transactions: Transactions,
) -> None:
    model = ModelId("model_1")
    everything = subscribed(transactions)
    moves = subscribed(transactions, events=(EventType.ALIAS_MOVED,))
    one_model = subscribed(transactions, models=(model,))
    failed, moved = an_event(), an_event(type=EventType.ALIAS_MOVED, model=model)
    happened(transactions, failed, moved)
    told = {
        webhook.id: [one.event for one in deliveries_of(transactions, webhook)]
        for webhook in (everything, moves, one_model)
    }
    assert told == {
        everything.id: [failed.id, moved.id],
        moves.id: [moved.id],
        one_model.id: [moved.id],
    }
    (delivery,) = deliveries_of(transactions, moves)
    assert delivery.payload == moved.payload
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.PENDING, 0)


def test_an_event_type_of_a_later_release_is_kept_and_harms_no_fact(
    transactions: Transactions,
) -> None:
    webhook = subscribed(transactions, events=("model.renamed", "job.failed"))
    event = an_event()
    happened(transactions, an_event(type=EventType.ALIAS_MOVED), event)
    assert [one.event for one in deliveries_of(transactions, webhook)] == [event.id]
    with transactions() as work:
        assert work[Webhooks].get(webhook.id) == webhook


def test_an_event_of_a_fact_that_is_rolled_back_is_never_delivered(
    transactions: Transactions,
) -> None:
    webhook = subscribed(transactions)
    with transactions() as work:
        work[Outbox].add(an_event())
    assert deliveries_of(transactions, webhook) == []


def test_pages_go_from_the_newest_back(transactions: Transactions) -> None:
    webhook = subscribed(transactions)
    events = [an_event(f"job_{n}") for n in range(3)]
    happened(transactions, *events)
    with transactions(read_only=True) as work:
        first = work[Outbox].page(webhook.id, 2, None)
        second = work[Outbox].page(webhook.id, 2, first[-1].id)
        assert work[Outbox].get(webhook.id, second[0].id) == second[0]
        with pytest.raises(DeliveryNotFound):
            work[Outbox].get(WebhookId("hook_other"), second[0].id)
        with pytest.raises(DeliveryNotFound):
            work[Outbox].get(webhook.id, DeliveryId("dlv_none"))
    assert [one.event for one in (*first, *second)] == [one.id for one in events[::-1]]


def test_a_webhook_that_is_deleted_takes_its_deliveries_along(transactions: Transactions) -> None:
    webhook, other = subscribed(transactions), subscribed(transactions)
    happened(transactions, an_event())
    with transactions() as work:
        work[Webhooks].delete(webhook.id)
        work.commit()
    assert deliveries_of(transactions, webhook) == []
    assert len(deliveries_of(transactions, other)) == 1


def test_a_fact_does_not_fail_by_a_webhook_that_is_being_deleted(
    transactions: Transactions,
) -> None:
    webhook, other = subscribed(transactions), subscribed(transactions)
    event = an_event()
    with ThreadPoolExecutor(1) as pool, transactions() as work:
        work[Webhooks].delete(webhook.id)
        adding = pool.submit(happened, transactions, event)
        time.sleep(0.2)  # let it come to where it waits for this transaction
        work.commit()
        adding.result(10)
    assert deliveries_of(transactions, webhook) == []
    assert [one.event for one in deliveries_of(transactions, other)] == [event.id]


def test_old_deliveries_are_forgotten(transactions: Transactions) -> None:
    webhook = subscribed(transactions)
    happened(transactions, an_event(at=NOW), an_event(at=LATER))
    with transactions() as work:
        assert work[Outbox].forget(LATER) == 1
        work.commit()
    assert [one.created_at for one in deliveries_of(transactions, webhook)] == [LATER]


def test_pending_deliveries_are_counted(transactions: Transactions) -> None:
    assert counted(transactions) == (0, None)
    subscribed(transactions)
    happened(transactions, an_event(at=LATER), an_event("b", at=NOW))
    assert counted(transactions) == (2, NOW)
    with transactions() as work:
        oldest = work[Outbox].claim(LATER, 60.0)
        assert oldest is not None
        work[Outbox].settle(oldest.after(Outcome(response_status=200), LATER, draw=0.0))
        work.commit()
    assert counted(transactions) == (1, LATER)


def counted(transactions: Transactions) -> tuple[int, datetime | None]:
    """The number of pending deliveries, and the time of the oldest."""
    with transactions(read_only=True) as work:
        gauge = work[Gauges].outbox()
    return gauge.pending, gauge.oldest
