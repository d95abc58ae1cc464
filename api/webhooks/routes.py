"""Routes of webhooks and their deliveries."""

from fastapi import Response

from api.dependencies import WiredServices
from api.http.routing import Routes, ThreadRoute
from api.http.schemas import After, Limit, Page, page_of
from api.webhooks.schemas import (
    DeliveryView,
    NewWebhook,
    WebhookChanges,
    WebhookView,
    WebhookWithSecret,
)
from core import errors
from core.outbox.rows import Outbox, Webhooks
from core.principal import Role
from core.values import DeliveryId, WebhookId
from core.webhooks import change as webhooks

router = Routes(prefix="/v1/webhooks", tags=["webhooks"], route_class=ThreadRoute)


@router.post(
    "",
    Role.ADMIN,
    errors.UrlForbidden,
    errors.ModelNotFound,
    errors.TooManyWebhooks,
    status_code=201,
)
def make_webhook(
    body: NewWebhook, services: WiredServices, response: Response
) -> WebhookWithSecret:
    """Create a webhook, which is sent the events that happen from now on.

    The reply has the secret that signs them; it is never shown again.
    """
    made = webhooks.create_webhook(
        services.platform,
        services.webhooks,
        url=body.url,
        events=body.events,
        models=body.models,
        description=body.description,
    )
    response.headers["Location"] = f"/v1/webhooks/{made.id}"
    return WebhookWithSecret.of(made)


@router.get("", Role.ADMIN)
def list_webhooks(
    services: WiredServices, limit: Limit = 50, after: After = None
) -> Page[WebhookView]:
    """List webhooks, oldest first."""
    with services.platform.transactions(read_only=True) as work:
        rows = work[Webhooks].page(limit + 1, after)
    return page_of(rows, limit, WebhookView.of, lambda row: row.id)


@router.get("/{webhook}", Role.ADMIN, errors.WebhookNotFound)
def get_webhook(webhook: str, services: WiredServices) -> WebhookView:
    """Return a webhook."""
    with services.platform.transactions(read_only=True) as work:
        return WebhookView.of(work[Webhooks].get(WebhookId(webhook)))


@router.patch(
    "/{webhook}", Role.ADMIN, errors.WebhookNotFound, errors.UrlForbidden, errors.ModelNotFound
)
def change_webhook(webhook: str, body: WebhookChanges, services: WiredServices) -> WebhookView:
    """Change a webhook, pause it or resume it; pending deliveries go to the new URL."""
    changed = webhooks.change_webhook(
        services.platform, services.webhooks, WebhookId(webhook), body.change()
    )
    return WebhookView.of(changed)


@router.delete("/{webhook}", Role.ADMIN, errors.WebhookNotFound, status_code=204)
def delete_webhook(webhook: str, services: WiredServices) -> None:
    """Delete a webhook and its deliveries, also those that are pending."""
    webhooks.delete_webhook(services.platform, WebhookId(webhook))


@router.post("/{webhook}/rotate-secret", Role.ADMIN, errors.WebhookNotFound)
def rotate_webhook_secret(webhook: str, services: WiredServices) -> WebhookWithSecret:
    """Make a new secret; for a day, messages are signed by the former one too."""
    rotated = webhooks.rotate_secret(services.platform, WebhookId(webhook))
    return WebhookWithSecret.of(rotated)


@router.post("/{webhook}/test", Role.ADMIN, errors.WebhookNotFound, status_code=202)
def test_webhook(webhook: str, services: WiredServices) -> DeliveryView:
    """Order the delivery of an event of type `webhook.test`."""
    return DeliveryView.of(webhooks.order_test(services.platform, WebhookId(webhook)))


@router.get("/{webhook}/deliveries", Role.ADMIN, errors.WebhookNotFound)
def list_webhook_deliveries(
    webhook: str,
    services: WiredServices,
    limit: Limit = 50,
    after: After = None,
) -> Page[DeliveryView]:
    """List the deliveries of a webhook, newest first; they are kept for 14 days."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Webhooks].get(WebhookId(webhook))
        rows = work[Outbox].page(found.id, limit + 1, after)
    return page_of(rows, limit, DeliveryView.of, lambda row: row.id)


@router.post(
    "/{webhook}/deliveries/{delivery}/redeliver",
    Role.ADMIN,
    errors.WebhookNotFound,
    errors.DeliveryNotFound,
    status_code=202,
)
def redeliver(webhook: str, delivery: str, services: WiredServices) -> DeliveryView:
    """Order a delivery once more, now and under the same event id."""
    ordered = webhooks.redeliver(services.platform, WebhookId(webhook), DeliveryId(delivery))
    return DeliveryView.of(ordered)
