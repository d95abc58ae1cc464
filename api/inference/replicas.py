"""The replicas of the inference process: each call goes to one that has few."""

import logging
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from threading import Lock

import httpcore
import httpx

from api.inference.reply import Reply

TIMEOUT_S = 60.0
CONNECT_S = 2.0
KEEP_ALIVE_S = 5.0  # less than inference keeps an idle connection open
AVOIDED_S = 2.0  # after a broken connection, as long as there are other replicas

_TIMEOUTS = {"connect": CONNECT_S, "read": TIMEOUT_S, "write": TIMEOUT_S, "pool": TIMEOUT_S}
FAULTS = (  # that keep a call from being answered
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
)

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Replica:
    url: httpx.URL
    calls: int = 0  # under way
    avoided_until: float = 0.0

    def target(self, path: str) -> httpcore.URL:
        """Return the URL of a path."""
        url = self.url
        target = url.raw_path.rstrip(b"/") + path.encode()
        return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=target)


class Replicas:
    """Clients of several inference processes that answer alike.

    A call whose connection breaks is made again at another replica, since an answer depends on the
    call alone and changes nothing. Each replica is tried once.
    """

    def __init__(self, urls: Sequence[str], headers: Mapping[str, str]) -> None:
        """Prepare to call the processes at these URLs; nothing is sent yet."""
        self._lock = Lock()
        self._replicas = [_Replica(httpx.URL(url)) for url in urls]
        self._headers = _encoded(headers)
        # httpcore alone does all that is needed here. Requests to our own processes never go
        # through a proxy that the environment names.
        self._connections = httpcore.ConnectionPool(
            ssl_context=_trust(), max_connections=None, keepalive_expiry=KEEP_ALIVE_S
        )

    def post(self, path: str, *, content: bytes, headers: Mapping[str, str]) -> Reply:
        """Return the response of the first replica that gives one.

        Raises one of FAULTS if none does, or if one takes too long to answer.
        """
        left = list(self._replicas)
        while True:
            replica = self._take(left)
            try:
                return self._send(replica, path, content, headers)
            except FAULTS as error:
                is_slow = isinstance(error, httpcore.TimeoutException)
                if not left or (is_slow and not isinstance(error, httpcore.ConnectTimeout)):
                    raise
                log.warning(
                    "no answer from inference at %s: %r; asking another", replica.url, error
                )
                replica.avoided_until = time.monotonic() + AVOIDED_S
            finally:
                with self._lock:
                    replica.calls -= 1

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()

    def _send(
        self, replica: _Replica, path: str, content: bytes, headers: Mapping[str, str]
    ) -> Reply:
        own = [(b"Host", replica.url.netloc), (b"Content-Length", b"%d" % len(content))]
        response = self._connections.request(
            "POST",
            replica.target(path),
            headers=[*own, *self._headers, *_encoded(headers)],
            content=content,
            extensions={"timeout": _TIMEOUTS},
        )
        named = {name.lower(): value for name, value in response.headers}
        media_type = named.get(b"content-type", b"")
        return Reply(response.status, media_type.decode("latin-1"), response.content)

    def _take(self, left: list[_Replica]) -> _Replica:
        """Take the replica with the fewest calls from those that are left, broken ones last."""
        now = time.monotonic()
        with self._lock:
            found = min(left, key=lambda one: (one.avoided_until > now, one.calls))
            left.remove(found)
            found.calls += 1
            # Of equals, the next call goes to one that has waited longer.
            self._replicas.remove(found)
            self._replicas.append(found)
        return found


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]


@cache
def _trust() -> ssl.SSLContext:
    """Return what trusts certifi's certificates, which take long to read."""
    return httpx.create_ssl_context(trust_env=False)
