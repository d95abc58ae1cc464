"""Deliveries that an operator orders: a test, or a past one again."""

from core.domain.access.principal import Principal
from core.domain.values import DeliveryId, WebhookId
from core.domain.webhooks.delivery import Delivery, delivery_of
from core.domain.webhooks.event import webhook_test
from core.ports import Platform


def order_test(platform: Platform, principal: Principal, webhook: WebhookId) -> Delivery:
    """Order the delivery of a test event. Raises Forbidden or WebhookNotFound."""
    principal.require_admin()
    with platform.transactions() as work:
        found = work.webhooks.get(webhook, lock=True)
        delivery = delivery_of(webhook_test(found.id, platform.clock()), found.id)
        work.outbox.add_delivery(delivery)
        work.commit()
    return delivery


def redeliver(
    platform: Platform, principal: Principal, webhook: WebhookId, delivery: DeliveryId
) -> Delivery:
    """Order a delivery once more, under the same event id.

    Raises Forbidden, WebhookNotFound or DeliveryNotFound.
    """
    principal.require_admin()
    with platform.transactions() as work:
        found = work.webhooks.get(webhook)
        again = work.outbox.get(found.id, delivery).redelivered(platform.clock())
        work.outbox.redeliver(again)
        work.commit()
    return again
