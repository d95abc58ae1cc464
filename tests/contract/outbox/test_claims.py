"""Claims of deliveries: in order by object, one at a time for each webhook, lost and resumed."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

from core.database.work import Transactions
from core.outbox.rows import Outbox, Webhooks
from core.outbox.rules import Delivery, DeliveryStatus, Outcome
from tests.support.factories import NOW
from tests.support.webhooks import an_event, deliveries_of, happened, refused, subscribed

ACCEPTED = Outcome(response_status=200)

LATER = NOW + timedelta(hours=1)


def claim(transactions: Transactions, lease_s: float = 60.0) -> Delivery | None:
    with transactions() as work:
        found = work[Outbox].claim(LATER, lease_s)
        work.commit()
    return found


def claimed(transactions: Transactions, lease_s: float = 60.0) -> Delivery:
    found = claim(transactions, lease_s)
    assert found is not None
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
    earlier = claimed(transactions)
    assert earlier.event == first.id
    settle(transactions, earlier, refused())
    between = claimed(transactions)
    assert between.event == other.id  # for the first waits, and the second waits for the first
    settle(transactions, between)
    assert claim(transactions) is None
    with transactions() as work:
        again = work[Outbox].claim(LATER + timedelta(seconds=6), 60)
        assert again is not None
        assert (again.id, again.attempts) == (earlier.id, 2)
        work.commit()
    settle(transactions, again)
    assert claimed(transactions).event == second.id


def test_a_delivery_waits_no_longer_for_one_that_has_failed(transactions: Transactions) -> None:
    subscribed(transactions)
    first, second = an_event("a"), an_event("a")
    happened(transactions, first, second)
    settle(transactions, replace(claimed(transactions), attempts=11), refused())
    assert claimed(transactions).event == second.id


def test_a_webhook_has_one_claimed_delivery_and_others_do_not_wait_for_it(
    transactions: Transactions,
) -> None:
    slow = subscribed(transactions)
    happened(transactions, an_event("a"), an_event("b"))
    fast = subscribed(transactions)
    happened(transactions, an_event("c"))
    taken = [claimed(transactions).webhook, claimed(transactions).webhook]
    assert taken == [slow.id, fast.id]
    assert claim(transactions) is None


def test_a_first_attempt_is_due_whatever_the_clock_where_it_happened(
    transactions: Transactions,
) -> None:
    subscribed(transactions)
    happened(transactions, an_event(at=LATER + timedelta(hours=1)))
    with transactions(read_only=True) as work:
        assert work[Outbox].is_due(LATER)
    assert claim(transactions) is not None


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
    assert claimed(transactions).event == event.id


def test_a_lost_claim_expires_and_the_stale_one_writes_nothing(transactions: Transactions) -> None:
    webhook = subscribed(transactions)
    happened(transactions, an_event())
    stale = claimed(transactions, lease_s=-1.0)
    present = claimed(transactions)
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
    stale = claimed(transactions)
    with transactions() as work:
        work[Outbox].redeliver(stale.redelivered(LATER))
        work.commit()
    assert settle(transactions, stale) is False
    (again,) = deliveries_of(transactions, webhook)
    assert (again.status, again.attempts, again.fence) == (DeliveryStatus.PENDING, 0, 2)
    assert claimed(transactions).id == stale.id


def test_a_lost_claim_is_due_whatever_the_clock_of_who_takes_it_up(
    transactions: Transactions,
) -> None:
    subscribed(transactions)
    happened(transactions, an_event(at=LATER))
    lost = claimed(transactions, lease_s=-1.0)
    with transactions() as work:
        resumed = work[Outbox].claim(NOW, 60.0)
    assert resumed is not None
    assert resumed.id == lost.id


def test_a_lost_claim_and_an_earlier_redelivery_do_not_wait_for_each_other(
    transactions: Transactions,
) -> None:
    webhook = subscribed(transactions)
    happened(transactions, an_event("a"), an_event("a"))
    earlier = claimed(transactions)
    settle(transactions, earlier)
    lost = claimed(transactions, lease_s=-1.0)
    with transactions() as work:
        work[Outbox].redeliver(work[Outbox].get(webhook.id, earlier.id).redelivered(LATER))
        work.commit()
    resumed = claimed(transactions)
    assert resumed.id == lost.id
    assert claim(transactions) is None
    settle(transactions, resumed)
    assert claimed(transactions).id == earlier.id


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
