"""Webhooks and the outbox: the deliveries that an event gives, and how they are claimed."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

import pytest

from core.database.work import Transactions
from core.errors import DeliveryNotFound, WebhookNotFound
from core.outbox.rows import Outbox, Webhooks
from core.outbox.rules import Delivery, DeliveryStatus, EventType, Outcome
from core.values import DeliveryId, ModelId, WebhookId
from tests.support.factories import NOW
from tests.support.storage.databases import commit_beside
from tests.support.webhooks import an_event, deliveries_of, happened, refused, subscribed

ACCEPTED = Outcome(response_status=200)

LATER = NOW + timedelta(hours=1)


def claim(transactions: Transactions, lease_s: float = 60.0) -> Delivery | None:
    with transactions() as work:
        found = work[Outbox].claim(LATER, lease_s)
        work.commit()
    return found


def settle(transactions: Transactions, delivery: Delivery, outcome: Outcome = ACCEPTED) -> bool:
    with transactions() as work:
        held = work[Outbox].settle(delivery.after(outcome, LATER, draw=0.0))
        work.commit()
    return held


def test_a_delivery_waits_for_the_earlier_one_about_the_same_object(
    transactions: Transactions,
) -> None:
    subscribed(transactions)
    first, second, other = an_event("a"), an_event("a"), an_event("b")
    happened(transactions, first, second, other)
    earlier = claim(transactions)
    assert earlier.event == first.id
    settle(transactions, earlier, refused())
    between = claim(transactions)
    assert between.event == other.id  # for the first waits, and the second waits for the first
    settle(transactions, between)
    assert claim(transactions) is None
    with transactions() as work:
        again = work[Outbox].claim(LATER + timedelta(seconds=6), 60)
        assert (again.id, again.attempts) == (earlier.id, 2)
        work.commit()
    settle(transactions, again)
    assert claim(transactions).event == second.id


def test_a_delivery_waits_no_longer_for_one_that_has_failed(transactions: Transactions) -> None:
    subscribed(transactions)
    first, second = an_event("a"), an_event("a")
    happened(transactions, first, second)
    settle(transactions, replace(claim(transactions), attempts=11), refused())
    assert claim(transactions).event == second.id


def test_a_webhook_has_one_claimed_delivery_and_others_do_not_wait_for_it(
    transactions: Transactions,
) -> None:
    slow = subscribed(transactions)
    happened(transactions, an_event("a"), an_event("b"))
    fast = subscribed(transactions)
    happened(transactions, an_event("c"))
    taken = [claim(transactions).webhook, claim(transactions).webhook]
    assert taken == [slow.id, fast.id]
    assert claim(transactions) is None


def test_a_paused_webhook_waits_and_goes_on_where_it_stopped(transactions: Transactions) -> None:
    webhook = subscribed(transactions, paused=True)
    event = an_event()
    happened(transactions, event)
    with transactions(read_only=True) as work:
        assert not work[Outbox].is_due(LATER)
    assert claim(transactions) is None
    with transactions() as work:
        work[Webhooks].save(replace(webhook, paused=False))
        work.commit()
    assert claim(transactions).event == event.id


def test_a_lost_claim_expires_and_the_stale_one_writes_nothing(transactions: Transactions) -> None:
    webhook = subscribed(transactions)
    happened(transactions, an_event())
    stale = claim(transactions, lease_s=-1.0)
    present = claim(transactions)
    assert (present.id, present.fence, present.attempts) == (stale.id, 2, 2)
    assert settle(transactions, stale) is False
    assert deliveries_of(transactions, webhook) == [present]
    assert settle(transactions, present) is True
    assert settle(transactions, present, refused()) is False  # it has ended
    (ended,) = deliveries_of(transactions, webhook)
    assert (ended.status, ended.response_status) == (DeliveryStatus.DELIVERED, 200)


def test_a_redelivery_ends_the_claim_that_is_under_way(transactions: Transactions) -> None:
    webhook = subscribed(transactions)
    happened(transactions, an_event())
    stale = claim(transactions)
    with transactions() as work:
        work[Outbox].redeliver(stale.redelivered(LATER))
        work.commit()
    assert settle(transactions, stale) is False
    (again,) = deliveries_of(transactions, webhook)
    assert (again.status, again.attempts, again.fence) == (DeliveryStatus.PENDING, 0, 2)
    assert claim(transactions).id == stale.id


def test_a_lost_claim_and_an_earlier_redelivery_do_not_wait_for_each_other(
    transactions: Transactions,
) -> None:
    webhook = subscribed(transactions)
    happened(transactions, an_event("a"), an_event("a"))
    earlier = claim(transactions)
    settle(transactions, earlier)
    lost = claim(transactions, lease_s=-1.0)
    with transactions() as work:
        work[Outbox].redeliver(work[Outbox].get(webhook.id, earlier.id).redelivered(LATER))
        work.commit()
    resumed = claim(transactions)
    assert resumed.id == lost.id
    assert claim(transactions) is None
    settle(transactions, resumed)
    assert claim(transactions).id == earlier.id


def test_claims_at_once_take_different_deliveries(transactions: Transactions) -> None:
    webhooks = [subscribed(transactions) for _ in range(4)]
    happened(transactions, *(an_event(f"job_{n}") for n in range(4)))
    together = Barrier(8)

    def take(_: int) -> Delivery | None:
        together.wait()
        return claim(transactions)

    with ThreadPoolExecutor(8) as pool:
        found = [one for one in pool.map(take, range(8)) if one is not None]
    assert found
    assert len({one.webhook for one in found}) == len(found)
    while (more := claim(transactions)) is not None:
        found.append(more)
    assert {one.webhook for one in found} == {one.id for one in webhooks}


def test_a_first_attempt_and_a_lost_claim_are_due_whatever_the_clocks(
    transactions: Transactions,
) -> None:
    subscribed(transactions)
    happened(transactions, an_event(at=LATER + timedelta(hours=1)))
    with transactions(read_only=True) as work:
        assert work[Outbox].is_due(LATER)
    lost = claim(transactions, lease_s=-1.0)
    with transactions() as work:
        resumed = work[Outbox].claim(NOW, 60.0)
    assert resumed.id == lost.id


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


def test_a_fact_does_not_fail_by_a_webhook_that_is_being_deleted(
    transactions: Transactions,
) -> None:
    webhook, other = subscribed(transactions), subscribed(transactions)
    event = an_event()
    with transactions() as work:
        work[Webhooks].delete(webhook.id)
        commit_beside(work, happened, transactions, event).result()
    assert deliveries_of(transactions, webhook) == []
    assert [one.event for one in deliveries_of(transactions, other)] == [event.id]


def test_pages_of_deliveries_go_from_the_newest_back(transactions: Transactions) -> None:
    webhook = subscribed(transactions)
    events = [an_event(f"job_{n}") for n in range(3)]
    happened(transactions, *events)
    with transactions(read_only=True) as work:
        first = work[Outbox].page(webhook.id, 2, None)
        second = work[Outbox].page(webhook.id, 2, first[-1].id)
        assert [one.event for one in (*first, *second)] == [one.id for one in events[::-1]]
        (last,) = second
        assert work[Outbox].get(webhook.id, last.id) == last
        for of, delivery in ((WebhookId("hook_other"), last.id), (webhook.id, DeliveryId("no"))):
            with pytest.raises(DeliveryNotFound):
                work[Outbox].get(of, delivery)
