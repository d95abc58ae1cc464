"""SIGKILL of the supervisor that is sending a webhook: nothing is lost, and the order holds.

Its child ends with it.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby
from random import Random
from time import sleep

import psutil

from core.outbox.rows import Webhooks
from core.outbox.rules import Delivery, EventType, Webhook
from tests.nightly.faults import line
from tests.nightly.faults.stage import Stage, child_of, has_ended, now, until
from tests.nightly.faults.tries import Try
from tests.support.servers.receiver import Receiver, receiving
from tests.support.webhooks import deliveries_of, subscribed

EVENTS = 3  # of each try, about one object

ANSWER_S = 0.3

LATEST_S = 0.4  # from the arrival of a message to the blow: before the answer, or after it


def run(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """By turns at the first, the second and the third message of a try."""
    stage.wait_for_api()
    with receiving() as receiver:
        receiver.pause_s = ANSWER_S
        webhook = subscribed(
            stage.platform.transactions, url=receiver.url, events=(EventType.DATASET_FROZEN,)
        )
        try:
            for number in range(tries):
                delay_s = LATEST_S * moments.random()
                yield _strike(stage, webhook, receiver, number % EVENTS, delay_s)
        finally:
            with stage.platform.transactions() as work:
                work[Webhooks].delete(webhook.id)
                work.commit()


def _strike(stage: Stage, webhook: Webhook, receiver: Receiver, place: int, delay_s: float) -> Try:
    stage.mend()
    until(stage.supervisors)
    deliveries = partial(deliveries_of, stage.platform.transactions, webhook)
    before, known = len(receiver.received), len(deliveries())
    for _ in range(EVENTS):
        answer = stage.client.post(f"/v1/datasets/{line.DATASET}/versions")
        assert answer.status_code == 201, answer.text
    until(lambda: len(receiver.received) > before + place)
    sender = _sender(stage, receiver.received[-1].port)
    sleep(delay_s)
    child = until(lambda: child_of(sender)) if sender is not None else None
    struck = now()
    if sender is not None and child is not None:
        stage.kill(sender)
        until(lambda: has_ended(child))

    def ended() -> Sequence[Delivery]:
        stage.mend()
        found = deliveries()[known:]
        return found if all(one.status.value == "delivered" for one in found) else []

    written = [one.event for one in until(ended)]
    took = now() - struck
    came = [event for event, _ in groupby(receiver.events[before:])]  # repeats are allowed
    trouble = "" if came == written else f"written: {written}, came: {came}"
    return Try(
        what=f"sender {'killed' if sender else 'gone'} {delay_s:.2f} s after message {place + 1}",
        trouble=trouble if sender is not None else "nobody was sending",
        lost=len(set(written) - set(came)),
        recovery_s=took,
    )


def _sender(stage: Stage, port: int) -> psutil.Process | None:
    """The supervisor whose connection comes from a port."""
    for supervisor in stage.supervisors():
        with suppress(psutil.Error):
            if any(one.laddr.port == port for one in supervisor.net_connections() if one.laddr):
                return supervisor
    return None
