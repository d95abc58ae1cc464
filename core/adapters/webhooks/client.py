"""Sending of webhooks over HTTP."""

import logging
import ssl
from functools import cache
from typing import Any

import anyio
import httpcore

from core.adapters.webhooks.network import CheckedNetwork, Resolve, require_public, resolve_host
from core.adapters.webhooks.signing import headers_of
from core.domain.webhooks.addresses import Receiver, receiver_of
from core.domain.webhooks.delivery import Outcome
from core.errors import UrlForbidden
from core.ports import Message

log = logging.getLogger(__name__)

MOST_BYTES = 64 * 1024  # of a response that are read; what it says is not used
LONGEST_ERROR = 300


class HttpWebhookClient:
    """The `WebhookClient` port: one POST, no redirects, no proxies, a limit on all of its time."""

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
