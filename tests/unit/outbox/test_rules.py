"""Deliveries after an attempt, the secrets that sign them, and the URLs that they may go to."""

from dataclasses import replace
from datetime import timedelta

import pytest

from core.errors import FieldInvalid, UrlForbidden
from core.outbox.rules import (
    Delivery,
    DeliveryStatus,
    EventType,
    Outcome,
    Receiver,
    is_public,
    make_secret,
    receiver_of,
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
    after = replace(DELIVERY, attempts=attempts).after(REFUSED, NOW, draw=draw)
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


@pytest.mark.parametrize(
    ("url", "authority", "port", "target"),
    [
        ("https://ci.example.com/told?by=us", "ci.example.com", 443, "/told?by=us"),
        ("https://ci.example.com:8443/a;b", "ci.example.com:8443", 8443, "/a;b"),
        ("https://ci.example.com?by=us", "ci.example.com", 443, "/?by=us"),
        ("https://CI.example.com", "CI.example.com", 443, "/"),
    ],
)
def test_a_url_leads_to_a_host_a_port_and_a_target(
    url: str, authority: str, port: int, target: str
) -> None:
    assert receiver_of(url, allow_private=False) == Receiver(
        scheme="https", authority=authority, host="ci.example.com", port=port, target=target
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://ci.example.com/",
        "ftp://ci.example.com/",
        "https://",
        "https://user:word@ci.example.com/",
        "https://@ci.example.com/",
        "https://ci.example.com/#there",
        "https://ci.example.com:0/",
        "https://ci.example.com:99999/",
        "https://[::1",
        "https://[::1]x/",
        "https://ci.example.com/a b",
        "https://ci.example.com\\@127.0.0.1/",
        "https://ci.example.com/\n",
        "https://bücher.example/",
        "https://ci.example.com/" + "a" * 2000,
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(UrlForbidden):
        receiver_of(url, allow_private=False)


def test_http_is_allowed_where_private_addresses_are() -> None:
    found = receiver_of("http://[::1]/told", allow_private=True)
    assert (found.scheme, found.authority, found.host, found.port) == ("http", "[::1]", "::1", 80)


@pytest.mark.parametrize(
    "address",
    ["93.184.215.14", "8.8.8.8", "2606:4700:4700::1111", "2001:200::1", "64:ff9b::808:808"],
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",  # where clouds keep credentials
        "192.0.0.9",
        "192.88.99.1",
        "224.0.0.1",
        "::1",
        "fd00:ec2::254",
        "::ffff:10.1.2.3",
        "::10.1.2.3",
        "2001:20::1",
        "3fff::1",
        "2002:c000:c0::",
        "fec0::1",  # site-local, as some networks still have them
        "64:ff9b::a01:203",
        "64:ff9b:1::808:808",  # translated by a network's own rules
        "4000::1",  # of nobody
        "2002:a01:203::",
        "2001:0:4136:e378:8000:63bf:f5fe:fdfc",
    ],
)
def test_other_addresses_are_not(address: str) -> None:
    assert not is_public(address)
