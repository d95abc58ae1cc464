"""Events, webhooks that subscribe to them, and their deliveries."""

import base64
import ipaddress
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Protocol
from urllib.parse import urlsplit

from core.errors import FieldInvalid, UrlForbidden
from core.values import DeliveryId, Json, ModelId, WebhookId, new_id


class EventType(StrEnum):
    """The types of events that a webhook can subscribe to."""

    JOB_SUCCEEDED = "job.succeeded"
    JOB_FAILED = "job.failed"
    JOB_CANCELLED = "job.cancelled"
    VERSION_JUDGED = "version.judged"
    ALIAS_MOVED = "alias.moved"
    ALIAS_DELETED = "alias.deleted"
    DATASET_FROZEN = "dataset.frozen"


TEST = "webhook.test"  # ordered by hand, for one webhook


@dataclass(frozen=True, kw_only=True)
class OutboxEvent:
    """Something that happened, for every webhook that subscribes to it."""

    id: str  # evt_...; the same in every delivery and attempt, so that receivers can tell repeats
    type: str  # an EventType, or TEST
    object: str  # a webhook receives the events of one object in order
    model: ModelId | None  # None: it concerns no model
    data: Json  # ids and links only
    at: datetime

    @property
    def payload(self) -> dict[str, Any]:
        """The body of a delivery, as Standard Webhooks has it."""
        return {"type": self.type, "timestamp": self.at.isoformat(), "data": dict(self.data)}


def webhook_test(webhook: WebhookId, now: datetime) -> OutboxEvent:
    """Return an event that tests a webhook."""
    return OutboxEvent(
        id=new_id("evt", now),
        type=TEST,
        object=webhook,
        model=None,
        data={"webhook": webhook, "links": {"webhook": f"/v1/webhooks/{webhook}"}},
        at=now,
    )


# Webhooks: the events that each receives, and the secrets that sign its messages.

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


# Deliveries: an event for a webhook, its attempts, and when the next one is due.

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


# Receivers: a webhook's URL, and the addresses that its host may have.

LONGEST_URL = 2000
_BRACKETED = re.compile(r"\[[^][]+](:\d*)?")  # an IPv6 address; Python may let more follow
_PORTS = {"https": 443, "http": 80}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# For protocols and documentation. Releases of Python differ in which of these they call global.
_SPECIAL = tuple(
    map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "3fff::/20"))
)
_UNICAST = ipaddress.IPv6Network("2000::/3")  # all that are given out; the rest has other uses


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """The parts of a webhook's URL that a request needs."""

    scheme: str
    authority: str  # host and port as the URL has them: the header Host
    host: str
    port: int
    target: str  # path and query


def receiver_of(url: str, *, allow_private: bool) -> Receiver:
    """Return the parts of a URL; http is allowed where private addresses are.

    Raises UrlForbidden.
    """
    schemes = _PORTS if allow_private else ("https",)
    printable = url.isascii() and url.isprintable() and not {" ", "\\"} & set(url)
    if not printable or len(url) > LONGEST_URL:
        raise UrlForbidden(
            f"A URL must have at most {LONGEST_URL:,} printable ASCII characters and no spaces: "
            "write a host with other letters in its xn-- form."
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UrlForbidden("This is not a URL.") from error
    if parts.scheme not in schemes:
        raise UrlForbidden(f"The URL must begin with {' or '.join(f'{s}://' for s in schemes)}.")
    if "[" in parts.netloc and not _BRACKETED.fullmatch(parts.netloc):
        raise UrlForbidden("This is not a URL.")
    if not parts.hostname or port == 0:
        raise UrlForbidden("The URL must name a host.")
    if parts.username is not None or parts.password is not None or "#" in url:
        raise UrlForbidden("The URL must have no user, password or fragment.")
    return Receiver(
        scheme=parts.scheme,
        authority=parts.netloc,
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
    )


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public internet.

    An IPv6 address that stands for an IPv4 address (mapped, 6to4, Teredo, NAT64) is as public as
    that.
    """
    found = ipaddress.ip_address(address)
    if isinstance(found, IPv6Address):
        inner = _ipv4_within(found)
        if inner is None and found not in _UNICAST:
            return False
        found = inner or found
    special = any(found in network for network in _SPECIAL)
    return found.is_global and not found.is_multicast and not special


def _ipv4_within(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


# What sends messages to receivers.


@dataclass(frozen=True, kw_only=True)
class Message:
    """A signed request to a receiver."""

    id: str  # of the event
    at: datetime
    body: bytes
    secrets: tuple[str, ...] = field(repr=False)  # each signs


class WebhookClient(Protocol):
    def check(self, url: str) -> None:
        """Raise UrlForbidden unless messages may be sent to a URL, as its host resolves now."""

    def send(self, url: str, message: Message) -> Outcome:
        """Send a message once, within the time that the settings allow. Never raises."""
