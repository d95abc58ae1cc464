"""Deliver what the outbox holds: claim, send, record."""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

from core.domain.values import canonical_json
from core.domain.webhooks.delivery import DELIVERIES_ENDED, Delivery, DeliveryStatus
from core.domain.webhooks.webhook import Webhook
from core.ports import Message, Platform, WebhookClient

log = logging.getLogger(__name__)

MARGIN_S = 5.0  # between the longest attempt and the end of its claim


@dataclass(frozen=True, kw_only=True)
class ClaimedDelivery:
    """A delivery that this process has claimed, and its webhook as it was then."""

    delivery: Delivery
    webhook: Webhook


def claim_delivery(platform: Platform) -> ClaimedDelivery | None:
    """Claim a due delivery; return None if there is none. Raises Unavailable."""
    now = platform.clock()
    with platform.transactions(read_only=True) as work:  # as a rule there is none to write to
        if not work.outbox.is_due(now):
            return None
    with platform.transactions() as work:
        delivery = work.outbox.claim(now, platform.settings.webhook_seconds + MARGIN_S)
        if delivery is None:
            return None
        webhook = work.webhooks.get(delivery.webhook)
        work.commit()
    return ClaimedDelivery(delivery=delivery, webhook=webhook)


def send_claimed(
    platform: Platform,
    client: WebhookClient,
    claimed: ClaimedDelivery,
    *,
    draw: Callable[[], float] = random.random,
) -> None:
    """Send a claimed delivery and record what came of it.

    If this process ends in between, the claim expires and the delivery is sent again: a receiver
    may get a message twice, but never none. Raises Unavailable.
    """
    delivery, webhook, now = claimed.delivery, claimed.webhook, platform.clock()
    message = Message(
        id=delivery.event,
        at=now,
        body=canonical_json(delivery.payload),
        secrets=webhook.secrets_at(now),
    )
    outcome = client.send(webhook.url, message)
    tried = delivery.after(outcome, platform.clock(), draw=draw())
    with platform.transactions() as work:
        if not work.outbox.settle(tried):
            log.warning("webhook attempt not recorded: the claim was lost", extra=_facts(tried))
            return
        if tried.status is not DeliveryStatus.PENDING:
            work.counters.add(DELIVERIES_ENDED, {"status": tried.status.value})
        work.commit()
    if outcome.error is not None:
        log.warning("webhook attempt failed", extra=_facts(tried) | {"code": outcome.error["code"]})


def _facts(delivery: Delivery) -> dict[str, object]:
    return {
        "webhook": delivery.webhook,
        "delivery": delivery.id,
        "attempt": delivery.attempts,
        "status": delivery.status.value,
    }
