"""Create, change and delete webhooks, and rotate their secrets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from core.audit import record as audit
from core.audit.rules import Action
from core.database.work import Work
from core.errors import TooManyWebhooks
from core.outbox.rows import Outbox, Webhooks
from core.outbox.rules import (
    MOST_WEBHOOKS,
    Delivery,
    EventType,
    Webhook,
    WebhookClient,
    delivery_of,
    make_secret,
    require_consistent,
    webhook_test,
)
from core.platform import Platform
from core.registry.rows import Models
from core.values import DeliveryId, ModelId, WebhookId, new_id


@dataclass(frozen=True, kw_only=True)
class WebhookChange:
    """New values of a webhook; None leaves one as it is."""

    url: str | None = None
    events: Sequence[EventType] | None = None
    models: Sequence[str] | None = None  # by id or name
    all_models: bool = False  # in place of `models`
    description: str | None = None
    paused: bool | None = None


def create_webhook(
    platform: Platform,
    client: WebhookClient,
    *,
    url: str,
    events: Sequence[EventType],
    models: Sequence[str] | None,
    description: str,
) -> Webhook:
    """Store a webhook with a secret of its own.

    Raises UrlForbidden, FieldInvalid, ModelNotFound or TooManyWebhooks.
    """
    client.check(url)
    now = platform.clock()
    with platform.transactions() as work:
        if len(work[Webhooks].page(MOST_WEBHOOKS, None)) == MOST_WEBHOOKS:
            raise TooManyWebhooks(most=MOST_WEBHOOKS)
        webhook = Webhook(
            id=WebhookId(new_id("hook", now)),
            url=url,
            events=tuple(dict.fromkeys(events)),
            models=None if models is None else _ids(work, models),
            description=description,
            secret=make_secret(),
            created_at=now,
        )
        require_consistent(webhook.events, webhook.models)
        work[Webhooks].add(webhook)
        audit.record(
            work, Action.WEBHOOK_CREATED, _subject(webhook), now=now, after=_summary_of(webhook)
        )
        work.commit()
    return webhook


def change_webhook(
    platform: Platform,
    client: WebhookClient,
    webhook: WebhookId,
    change: WebhookChange,
) -> Webhook:
    """Change a webhook: pending deliveries go to its new URL, and wait while it is paused.

    Raises WebhookNotFound, UrlForbidden, FieldInvalid or ModelNotFound.
    """
    if change.url is not None:
        client.check(change.url)
    with platform.transactions() as work:
        found = work[Webhooks].get(webhook, lock=True)
        models = found.models if change.models is None else _ids(work, change.models)
        changed = replace(
            found,
            url=found.url if change.url is None else change.url,
            events=found.events if change.events is None else tuple(dict.fromkeys(change.events)),
            models=None if change.all_models else models,
            description=found.description if change.description is None else change.description,
            paused=found.paused if change.paused is None else change.paused,
        )
        if changed == found:
            return found
        require_consistent(changed.events, changed.models)
        work[Webhooks].save(changed)
        audit.record(
            work,
            Action.WEBHOOK_CHANGED,
            _subject(found),
            now=platform.clock(),
            before=_summary_of(found),
            after=_summary_of(changed),
        )
        work.commit()
    return changed


def rotate_secret(platform: Platform, webhook: WebhookId) -> Webhook:
    """Give a webhook a new secret; the present one signs beside it for a day.

    Raises WebhookNotFound.
    """
    now = platform.clock()
    with platform.transactions() as work:
        found = work[Webhooks].get(webhook, lock=True)
        rotated = found.rotated(make_secret(), now)
        work[Webhooks].save(rotated)
        audit.record(work, Action.WEBHOOK_ROTATED, _subject(found), now=now)
        work.commit()
    return rotated


def delete_webhook(platform: Platform, webhook: WebhookId) -> None:
    """Delete a webhook and its deliveries. Raises WebhookNotFound."""
    with platform.transactions() as work:
        found = work[Webhooks].get(webhook, lock=True)
        work[Webhooks].delete(webhook)
        audit.record(
            work,
            Action.WEBHOOK_DELETED,
            _subject(found),
            now=platform.clock(),
            before=_summary_of(found),
        )
        work.commit()


def _ids(work: Work, models: Sequence[str]) -> tuple[ModelId, ...]:
    return tuple(dict.fromkeys(work[Models].get(model).id for model in models))


def _subject(webhook: Webhook) -> str:
    return f"webhooks/{webhook.id}"


def _summary_of(webhook: Webhook) -> dict[str, Any]:
    """Return what a webhook does, as plain JSON, without its path, which may be a secret."""
    return {
        "host": urlsplit(webhook.url).netloc,
        "events": list(webhook.events),
        "models": None if webhook.models is None else list(webhook.models),
        "paused": webhook.paused,
    }


# Deliveries that are ordered by hand: a test, or a past one again.


def order_test(platform: Platform, webhook: WebhookId) -> Delivery:
    """Order the delivery of a test event. Raises WebhookNotFound."""
    now = platform.clock()
    with platform.transactions() as work:
        found = work[Webhooks].get(webhook, lock=True)
        delivery = delivery_of(webhook_test(found.id, now), found.id)
        work[Outbox].add_delivery(delivery)
        audit.record(work, Action.WEBHOOK_TESTED, f"webhooks/{found.id}", now=now)
        work.commit()
    return delivery


def redeliver(platform: Platform, webhook: WebhookId, delivery: DeliveryId) -> Delivery:
    """Order a delivery once more, under the same event id.

    Raises WebhookNotFound or DeliveryNotFound.
    """
    now = platform.clock()
    with platform.transactions() as work:
        found = work[Webhooks].get(webhook)
        again = work[Outbox].get(found.id, delivery).redelivered(now)
        work[Outbox].redeliver(again)
        subject = f"webhooks/{found.id}/deliveries/{delivery}"
        audit.record(work, Action.WEBHOOK_REDELIVERED, subject, now=now)
        work.commit()
    return again
