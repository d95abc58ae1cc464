"""Deliveries that are ordered by hand: a test, or a past one again."""

from core.domain.access.audit import Action
from core.domain.values import DeliveryId, WebhookId
from core.domain.webhooks.delivery import Delivery, delivery_of
from core.domain.webhooks.event import webhook_test
from core.ports import Platform
from core.use_cases.access import audit


def order_test(platform: Platform, webhook: WebhookId) -> Delivery:
    """Order the delivery of a test event. Raises WebhookNotFound."""
    now = platform.clock()
    with platform.transactions() as work:
        found = work.webhooks.get(webhook, lock=True)
        delivery = delivery_of(webhook_test(found.id, now), found.id)
        work.outbox.add_delivery(delivery)
        audit.record(work, Action.WEBHOOK_TESTED, f"webhooks/{found.id}", now=now)
        work.commit()
    return delivery


def redeliver(platform: Platform, webhook: WebhookId, delivery: DeliveryId) -> Delivery:
    """Order a delivery once more, under the same event id.

    Raises WebhookNotFound or DeliveryNotFound.
    """
    now = platform.clock()
    with platform.transactions() as work:
        found = work.webhooks.get(webhook)
        again = work.outbox.get(found.id, delivery).redelivered(now)
        work.outbox.redeliver(again)
        subject = f"webhooks/{found.id}/deliveries/{delivery}"
        audit.record(work, Action.WEBHOOK_REDELIVERED, subject, now=now)
        work.commit()
    return again
