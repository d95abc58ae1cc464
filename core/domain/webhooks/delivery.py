"""Deliveries: an event for a webhook, its attempts, and when the next one is due."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from core.domain.values import DeliveryId, Json, WebhookId, new_id
from core.domain.webhooks.event import OutboxEvent

# Seconds between an attempt and the next: eleven attempts in about a day.
WAITS_S = (5, 30, 120, 600, 1800, 3600, 7200, 14_400, 28_800, 28_800)
JITTER = 0.2  # each wait is longer by up to this part of itself
KEPT_DAYS = 14

DELIVERIES_ENDED = "webhook_deliveries_ended"  # the counter of them, by status


class DeliveryStatus(StrEnum):
    """The states of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of an attempt."""

    response_status: int | None = None  # None: there was no response
    error: Json | None = None  # {"code", "message"}; None: the receiver accepted


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """An event on its way to a webhook."""

    id: DeliveryId
    webhook: WebhookId
    event: str  # the id of the event
    type: str
    object: str
    payload: Json
    status: DeliveryStatus = DeliveryStatus.PENDING
    attempts: int = 0  # since it was written or last redelivered, counted as they begin
    fence: int = 0  # rises with every claim; what came of an attempt is written by it
    response_status: int | None = None  # of the last attempt
    error: Json | None = None  # likewise
    created_at: datetime
    attempted_at: datetime | None = None  # when the last attempt ended
    next_attempt_at: datetime | None  # None: it has been delivered or has failed

    def after(self, outcome: Outcome, now: datetime, *, draw: float) -> "Delivery":
        """Return the delivery after an attempt; `draw` in [0, 1) decides how long it waits."""
        tried = replace(
            self,
            response_status=outcome.response_status,
            error=outcome.error,
            attempted_at=now,
            next_attempt_at=None,
        )
        if outcome.error is None:
            return replace(tried, status=DeliveryStatus.DELIVERED)
        if self.attempts > len(WAITS_S):
            return replace(tried, status=DeliveryStatus.FAILED)
        wait_s = WAITS_S[self.attempts - 1] * (1 + JITTER * draw)
        return replace(tried, next_attempt_at=now + timedelta(seconds=wait_s))

    def redelivered(self, now: datetime) -> "Delivery":
        """Return the delivery as due now, with all its attempts before it."""
        return replace(self, status=DeliveryStatus.PENDING, attempts=0, next_attempt_at=now)


def delivery_of(event: OutboxEvent, webhook: WebhookId) -> Delivery:
    """Return the delivery of an event to a webhook, due at once."""
    return Delivery(
        id=DeliveryId(new_id("dlv", event.at)),
        webhook=webhook,
        event=event.id,
        type=event.type,
        object=event.object,
        payload=event.payload,
        created_at=event.at,
        next_attempt_at=event.at,
    )
