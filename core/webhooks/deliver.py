"""Deliver what the outbox holds: claim, send, record."""

import logging
import random
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import anyio
import anyio.to_thread
import httpcore
from standardwebhooks import Webhook as StandardWebhook

from core.errors import UrlForbidden
from core.jobs.claim_rows import Counters
from core.outbox.rows import Outbox, Webhooks
from core.outbox.rules import (
    DELIVERIES_ENDED,
    Delivery,
    DeliveryStatus,
    Message,
    Outcome,
    Receiver,
    Webhook,
    WebhookClient,
    is_public,
    receiver_of,
)
from core.platform import Platform
from core.values import canonical_json

log = logging.getLogger(__name__)

MARGIN_S = 5.0  # between the longest attempt and the end of its claim


@dataclass(frozen=True, kw_only=True)
class ClaimedDelivery:
    """A delivery that this process has claimed, and its webhook as it was then."""

    delivery: Delivery
    webhook: Webhook


def claim_delivery(platform: Platform) -> ClaimedDelivery | None:
    """Claim a due delivery; return None if there is none. Raises Unavailable."""
    now = platform.clock()
    with platform.transactions(read_only=True) as work:  # as a rule there is none to write to
        if not work[Outbox].is_due(now):
            return None
    with platform.transactions() as work:
        delivery = work[Outbox].claim(now, platform.settings.webhook_seconds + MARGIN_S)
        if delivery is None:
            return None
        webhook = work[Webhooks].get(delivery.webhook)
        work.commit()
    return ClaimedDelivery(delivery=delivery, webhook=webhook)


def send_claimed(
    platform: Platform,
    client: WebhookClient,
    claimed: ClaimedDelivery,
    *,
    draw: Callable[[], float] = random.random,
) -> None:
    """Send a claimed delivery and record what came of it.

    If this process ends in between, the claim expires and the delivery is sent again: a receiver
    may get a message twice, but never none. Raises Unavailable.
    """
    delivery, webhook, now = claimed.delivery, claimed.webhook, platform.clock()
    message = Message(
        id=delivery.event,
        at=now,
        body=canonical_json(delivery.payload),
        secrets=webhook.secrets_at(now),
    )
    outcome = client.send(webhook.url, message)
    tried = delivery.after(outcome, platform.clock(), draw=draw())
    with platform.transactions() as work:
        if not work[Outbox].settle(tried):
            log.warning("webhook attempt not recorded: the claim was lost", extra=_facts(tried))
            return
        if tried.status is not DeliveryStatus.PENDING:
            work[Counters].add(DELIVERIES_ENDED, {"status": tried.status.value})
        work.commit()
    if outcome.error is not None:
        log.warning("webhook attempt failed", extra=_facts(tried) | {"code": outcome.error["code"]})


def _facts(delivery: Delivery) -> dict[str, object]:
    return {
        "webhook": delivery.webhook,
        "delivery": delivery.id,
        "attempt": delivery.attempts,
        "status": delivery.status.value,
    }


# Connections: a host is resolved once, and only checked addresses are reached.

Resolve = Callable[[str, int], Sequence[str]]  # host and port to IP addresses; raises OSError


def resolve_host(host: str, port: int) -> Sequence[str]:
    """Return the IP addresses of a host, each once. Raises OSError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is empty or too long
        raise OSError(f"{host!r} is not a host") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def require_public(host: str, addresses: Iterable[str]) -> None:
    """Raise UrlForbidden unless all of a host's addresses are public."""
    if any(not is_public(address) for address in addresses):
        raise UrlForbidden(
            f"{host} has an address that is not public. Whoever runs the service can allow such "
            "receivers with PERENNIAL_WEBHOOK_PRIVATE."
        )


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Network that connects to the very address that was checked.

    So a name that resolves to another address the next moment leads nowhere else. TLS still
    verifies the certificate against the name.
    """

    def __init__(self, resolve: Resolve, *, allow_private: bool) -> None:
        self._resolve = resolve
        self._allow_private = allow_private
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of a host that answers. Raises UrlForbidden or OSError."""
        addresses = await anyio.to_thread.run_sync(
            self._resolve, host, port, abandon_on_cancel=True
        )
        if not self._allow_private:
            require_public(host, addresses)
        refused: Exception = OSError(f"{host} has no address")
        for address in addresses:
            try:
                return await self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except httpcore.ConnectError as error:
                refused = error
        raise refused


# Sending over HTTP, with the headers of Standard Webhooks (standardwebhooks.com).

MOST_BYTES = 64 * 1024  # of a response that are read; what it says is not used
LONGEST_ERROR = 300


class HttpWebhookClient:
    """Sends one POST: no redirects, no proxies, a limit on all of its time."""

    def __init__(
        self,
        *,
        seconds: float,
        allow_private: bool,
        resolve: Resolve = resolve_host,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Set the limits; `tls` says which certificates are trusted, by default the system's."""
        self._seconds = seconds
        self._allow_private = allow_private
        self._resolve = resolve
        self._tls = tls

    def check(self, url: str) -> None:
        """Raise UrlForbidden unless messages may be sent to a URL, as its host resolves now."""
        receiver = receiver_of(url, allow_private=self._allow_private)
        try:
            addresses = self._resolve(receiver.host, receiver.port)
        except OSError as error:
            raise UrlForbidden(f"{receiver.host} has no address.") from error
        if not self._allow_private:
            require_public(receiver.host, addresses)

    def send(self, url: str, message: Message) -> Outcome:
        """Send a message once; whatever goes wrong is in the outcome."""
        try:
            receiver = receiver_of(url, allow_private=self._allow_private)
            status = anyio.run(self._post, receiver, message)
        except UrlForbidden as error:
            return _failure(error.code, error.message)
        except (TimeoutError, httpcore.TimeoutException):
            return _failure(
                "receiver_timeout", f"The receiver did not respond within {self._seconds:g} s."
            )
        except Exception as error:  # noqa: BLE001 (whatever a receiver sends must not stop others)
            return _failure("receiver_unreachable", f"{type(error).__name__}: {error}")
        if not 200 <= status < 300:
            said = f"The receiver responded with status {status}."
            return _failure("receiver_refused", said, status)
        return Outcome(response_status=status)

    async def _post(self, receiver: Receiver, message: Message) -> int:
        """Return the status of the response. Raises TimeoutError and what httpcore raises."""
        network = CheckedNetwork(self._resolve, allow_private=self._allow_private)
        tls = self._tls or _system_trust()
        pool = httpcore.AsyncConnectionPool(ssl_context=tls, network_backend=network)
        url = httpcore.URL(
            scheme=receiver.scheme, host=receiver.host, port=receiver.port, target=receiver.target
        )
        headers = [("Host", receiver.authority), *headers_of(message).items()]
        with anyio.fail_after(self._seconds):
            async with (
                pool,
                pool.stream("POST", url, headers=headers, content=message.body) as response,
            ):
                read = 0
                async for chunk in response.aiter_stream():
                    read += len(chunk)
                    if read > MOST_BYTES:
                        break
                return int(response.status)


@cache
def _system_trust() -> ssl.SSLContext:
    """Return what trusts the system's certificates, which take long to read."""
    return ssl.create_default_context()


def _failure(code: str, message: str, status: int | None = None) -> Outcome:
    error: dict[str, Any] = {"code": code, "message": message[:LONGEST_ERROR]}
    return Outcome(response_status=status, error=error)


def headers_of(message: Message) -> Mapping[str, str]:
    """Return the headers of a message; each of its secrets gives one signature."""
    body = message.body.decode()
    signatures = [
        StandardWebhook(secret).sign(message.id, message.at, body) for secret in message.secrets
    ]
    return {
        "Content-Type": "application/json",
        "User-Agent": f"perennial/{version('perennial')}",
        "webhook-id": message.id,
        "webhook-timestamp": str(int(message.at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
