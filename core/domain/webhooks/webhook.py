"""Webhooks: the events that each receives, and the secrets that sign its messages."""

import base64
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from core.domain.values import ModelId, WebhookId
from core.domain.webhooks.event import EventType, OutboxEvent
from core.errors import FieldInvalid

MOST_WEBHOOKS = 100  # every event is compared with each of them

SECRET_PREFIX = "whsec_"  # noqa: S105 (no secret, but what each begins with)
SECRET_BYTES = 32
ROTATION = timedelta(hours=24)  # for which the former secret signs too


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """A URL that receives events, each signed by its secret."""

    id: WebhookId
    url: str = field(repr=False)  # some receivers' URLs are secrets
    events: tuple[str, ...]  # each an EventType, or one of a later release
    models: tuple[ModelId, ...] | None  # None: events of all models, and those of none
    description: str
    secret: str = field(repr=False)
    former_secret: str | None = field(default=None, repr=False)
    former_until: datetime | None = None
    paused: bool = False  # its deliveries wait
    created_at: datetime

    def subscribes(self, event: OutboxEvent) -> bool:
        """Return whether the webhook receives an event."""
        return event.type in self.events and (self.models is None or event.model in self.models)

    def rotated(self, secret: str, now: datetime) -> "Webhook":
        """Return the webhook with a new secret; the present one signs too for ROTATION."""
        until = now + ROTATION
        return replace(self, secret=secret, former_secret=self.secret, former_until=until)

    def secrets_at(self, now: datetime) -> tuple[str, ...]:
        """Return the secrets that sign now, the newest first."""
        if self.former_secret and self.former_until and now < self.former_until:
            return (self.secret, self.former_secret)
        return (self.secret,)


def make_secret() -> str:
    """Return a new secret, in the form of Standard Webhooks."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def require_consistent(events: Collection[str], models: Collection[ModelId] | None) -> None:
    """Raise FieldInvalid for an event type that a webhook of these models never receives."""
    if models is not None and EventType.DATASET_FROZEN in events:
        raise FieldInvalid(
            "A dataset belongs to no model: leave out 'dataset.frozen' or 'models'.",
            pointer="/events",
        )
