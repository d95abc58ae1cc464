"""The state of a delivery after an attempt, and the secrets that sign it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from core.errors import FieldInvalid
from core.outbox.rules import (
    Delivery,
    DeliveryStatus,
    EventType,
    Outcome,
    make_secret,
    require_consistent,
)
from core.values import DeliveryId, WebhookId
from tests.support.factories import NOW
from tests.support.webhooks import a_webhook, refused

REFUSED = refused(500)

DELIVERY = Delivery(
    id=DeliveryId("dlv_1"),
    webhook=WebhookId("hook_1"),
    event="evt_1",
    type="job.failed",
    object="job_1",
    payload={},
    attempts=1,
    created_at=NOW,
    next_attempt_at=NOW,
)


def wait_after(attempts: int, draw: float = 0.0) -> float:
    """Seconds between the end of an attempt and the next one."""
    after = replace(DELIVERY, attempts=attempts).after(REFUSED, NOW, draw=draw)
    assert after.next_attempt_at is not None
    return (after.next_attempt_at - NOW).total_seconds()


def test_attempts_grow_apart_for_about_a_day() -> None:
    waits = [wait_after(number) for number in range(1, 11)]
    assert waits[:3] == [5, 30, 120]
    assert waits == sorted(waits)
    assert 20 * 3600 < sum(waits) < 30 * 3600


def test_jitter_lengthens_a_wait_by_up_to_a_fifth() -> None:
    assert wait_after(2, draw=0.5) == pytest.approx(33)
    assert wait_after(2, draw=1.0) == pytest.approx(36)


def test_a_refused_delivery_stays_pending_and_says_why() -> None:
    after = DELIVERY.after(REFUSED, NOW, draw=0.0)
    assert (after.status, after.response_status) == (DeliveryStatus.PENDING, 500)
    assert (after.error, after.attempted_at) == (REFUSED.error, NOW)


def test_after_its_last_attempt_it_has_failed() -> None:
    after = replace(DELIVERY, attempts=11).after(REFUSED, NOW, draw=0.0)
    assert (after.status, after.next_attempt_at) == (DeliveryStatus.FAILED, None)


def test_an_accepted_delivery_is_delivered_and_has_no_error_any_more() -> None:
    refused = DELIVERY.after(REFUSED, NOW, draw=0.0)
    after = refused.after(Outcome(response_status=204), NOW, draw=0.0)
    assert (after.status, after.next_attempt_at) == (DeliveryStatus.DELIVERED, None)
    assert (after.response_status, after.error) == (204, None)


def test_a_redelivery_begins_with_all_its_attempts() -> None:
    failed = replace(DELIVERY, attempts=11).after(REFUSED, NOW, draw=0.0)
    again = failed.redelivered(NOW)
    assert (again.status, again.attempts) == (DeliveryStatus.PENDING, 0)
    assert (again.next_attempt_at, again.event) == (NOW, "evt_1")


def test_the_former_secret_signs_for_a_day_after_a_rotation() -> None:
    webhook = a_webhook(url="https://ci.example.com/", secret="old")
    assert webhook.secrets_at(NOW) == ("old",)
    rotated = webhook.rotated("new", NOW)
    assert rotated.secrets_at(NOW + timedelta(hours=23, minutes=59)) == ("new", "old")
    assert rotated.secrets_at(NOW + timedelta(hours=24)) == ("new",)
    assert "new" not in repr(rotated)
    assert "example" not in repr(rotated)


def test_secrets_are_long_and_differ() -> None:
    secrets = {make_secret() for _ in range(3)}
    assert len(secrets) == 3
    assert all(secret.startswith("whsec_") and len(secret) == 50 for secret in secrets)


def test_datasets_belong_to_no_model() -> None:
    require_consistent([EventType.DATASET_FROZEN], None)
    with pytest.raises(FieldInvalid):
        require_consistent([EventType.JOB_FAILED, EventType.DATASET_FROZEN], [])
