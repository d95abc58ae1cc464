"""Create, change and delete webhooks, and rotate their secrets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.domain.access.principal import Principal
from core.domain.values import ModelId, WebhookId, new_id
from core.domain.webhooks.event import EventType
from core.domain.webhooks.webhook import (
    MOST_WEBHOOKS,
    Webhook,
    make_secret,
    require_consistent,
)
from core.errors import TooManyWebhooks
from core.ports import Platform, UnitOfWork, WebhookClient


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
    principal: Principal,
    client: WebhookClient,
    *,
    url: str,
    events: Sequence[EventType],
    models: Sequence[str] | None,
    description: str,
) -> Webhook:
    """Store a webhook with a secret of its own.

    Raises Forbidden, UrlForbidden, FieldInvalid, ModelNotFound or TooManyWebhooks.
    """
    principal.require_admin()
    client.check(url)
    now = platform.clock()
    with platform.transactions() as work:
        if len(work.webhooks.page(MOST_WEBHOOKS, None)) == MOST_WEBHOOKS:
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
        work.webhooks.add(webhook)
        work.commit()
    return webhook


def change_webhook(
    platform: Platform,
    principal: Principal,
    client: WebhookClient,
    webhook: WebhookId,
    change: WebhookChange,
) -> Webhook:
    """Change a webhook: pending deliveries go to its new URL, and wait while it is paused.

    Raises Forbidden, WebhookNotFound, UrlForbidden, FieldInvalid or ModelNotFound.
    """
    principal.require_admin()
    if change.url is not None:
        client.check(change.url)
    with platform.transactions() as work:
        found = work.webhooks.get(webhook, lock=True)
        models = found.models if change.models is None else _ids(work, change.models)
        changed = replace(
            found,
            url=found.url if change.url is None else change.url,
            events=found.events if change.events is None else tuple(dict.fromkeys(change.events)),
            models=None if change.all_models else models,
            description=found.description if change.description is None else change.description,
            paused=found.paused if change.paused is None else change.paused,
        )
        require_consistent(changed.events, changed.models)
        work.webhooks.save(changed)
        work.commit()
    return changed


def rotate_secret(platform: Platform, principal: Principal, webhook: WebhookId) -> Webhook:
    """Give a webhook a new secret; the present one signs beside it for a day.

    Raises Forbidden or WebhookNotFound.
    """
    principal.require_admin()
    with platform.transactions() as work:
        found = work.webhooks.get(webhook, lock=True)
        rotated = found.rotated(make_secret(), platform.clock())
        work.webhooks.save(rotated)
        work.commit()
    return rotated


def delete_webhook(platform: Platform, principal: Principal, webhook: WebhookId) -> None:
    """Delete a webhook and its deliveries. Raises Forbidden or WebhookNotFound."""
    principal.require_admin()
    with platform.transactions() as work:
        work.webhooks.delete(webhook)
        work.commit()


def _ids(work: UnitOfWork, models: Sequence[str]) -> tuple[ModelId, ...]:
    return tuple(dict.fromkeys(work.models.get(model).id for model in models))
