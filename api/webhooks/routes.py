"""Routes of webhooks and their deliveries."""

from fastapi import APIRouter, Response

from api.dependencies import WiredServices
from api.http.routing import ThreadRoute, needs
from api.http.schemas import After, Limit, Page, page_of
from api.openapi_document import raises
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

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], route_class=ThreadRoute)


@router.post(
    "",
    status_code=201,
    responses=raises(errors.UrlForbidden, errors.ModelNotFound, errors.TooManyWebhooks),
    openapi_extra=needs(Role.ADMIN),
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


@router.get("", openapi_extra=needs(Role.ADMIN))
def list_webhooks(
    services: WiredServices, limit: Limit = 50, after: After = None
) -> Page[WebhookView]:
    """List webhooks, oldest first."""
    with services.platform.transactions(read_only=True) as work:
        rows = work[Webhooks].page(limit + 1, after)
    return page_of(rows, limit, WebhookView.of, lambda row: row.id)


@router.get("/{webhook}", responses=raises(errors.WebhookNotFound), openapi_extra=needs(Role.ADMIN))
def get_webhook(webhook: str, services: WiredServices) -> WebhookView:
    """Return a webhook."""
    with services.platform.transactions(read_only=True) as work:
        return WebhookView.of(work[Webhooks].get(WebhookId(webhook)))


@router.patch(
    "/{webhook}",
    responses=raises(errors.WebhookNotFound, errors.UrlForbidden, errors.ModelNotFound),
    openapi_extra=needs(Role.ADMIN),
)
def change_webhook(webhook: str, body: WebhookChanges, services: WiredServices) -> WebhookView:
    """Change a webhook, pause it or resume it; pending deliveries go to the new URL."""
    changed = webhooks.change_webhook(
        services.platform, services.webhooks, WebhookId(webhook), body.change()
    )
    return WebhookView.of(changed)


@router.delete(
    "/{webhook}",
    status_code=204,
    responses=raises(errors.WebhookNotFound),
    openapi_extra=needs(Role.ADMIN),
)
def delete_webhook(webhook: str, services: WiredServices) -> None:
    """Delete a webhook and its deliveries, also those that are pending."""
    webhooks.delete_webhook(services.platform, WebhookId(webhook))


@router.post(
    "/{webhook}/rotate-secret",
    responses=raises(errors.WebhookNotFound),
    openapi_extra=needs(Role.ADMIN),
)
def rotate_webhook_secret(webhook: str, services: WiredServices) -> WebhookWithSecret:
    """Make a new secret; for a day, messages are signed by the former one too."""
    rotated = webhooks.rotate_secret(services.platform, WebhookId(webhook))
    return WebhookWithSecret.of(rotated)


@router.post(
    "/{webhook}/test",
    status_code=202,
    responses=raises(errors.WebhookNotFound),
    openapi_extra=needs(Role.ADMIN),
)
def test_webhook(webhook: str, services: WiredServices) -> DeliveryView:
    """Order the delivery of an event of type `webhook.test`."""
    return DeliveryView.of(webhooks.order_test(services.platform, WebhookId(webhook)))


@router.get(
    "/{webhook}/deliveries",
    responses=raises(errors.WebhookNotFound),
    openapi_extra=needs(Role.ADMIN),
)
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
    status_code=202,
    responses=raises(errors.WebhookNotFound, errors.DeliveryNotFound),
    openapi_extra=needs(Role.ADMIN),
)
def redeliver(webhook: str, delivery: str, services: WiredServices) -> DeliveryView:
    """Order a delivery once more, now and under the same event id."""
    ordered = webhooks.redeliver(services.platform, WebhookId(webhook), DeliveryId(delivery))
    return DeliveryView.of(ordered)
