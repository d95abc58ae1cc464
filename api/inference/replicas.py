"""The replicas of the inference process: each call goes to one that has few."""

import logging
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from threading import Lock

import httpx

TIMEOUT_S = 60.0
CONNECT_S = 2.0
KEEP_ALIVE_S = 5.0  # less than inference keeps an idle connection open
AVOIDED_S = 2.0  # after a broken connection, as long as there are other replicas

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Replica:
    http: httpx.Client
    calls: int = 0  # under way
    avoided_until: float = 0.0


class Replicas:
    """Clients of several inference processes that answer alike.

    A call whose connection breaks is made again at another replica, since an answer depends on the
    call alone and changes nothing. Each replica is tried once.
    """

    def __init__(self, urls: Sequence[str], headers: Mapping[str, str]) -> None:
        """Prepare to call the processes at these URLs; nothing is sent yet."""
        self._lock = Lock()
        self._replicas = [
            _Replica(
                httpx.Client(
                    base_url=url,
                    timeout=httpx.Timeout(TIMEOUT_S, connect=CONNECT_S),
                    limits=httpx.Limits(keepalive_expiry=KEEP_ALIVE_S),
                    headers=headers,
                    verify=_trust(),
                    trust_env=False,  # never send requests to our own process through a proxy
                )
            )
            for url in urls
        ]

    def post(self, path: str, *, content: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """Return the response of the first replica that gives one.

        Raises httpx.TransportError if none does, or if one takes too long to answer.
        """
        left = list(self._replicas)
        while True:
            replica = self._take(left)
            try:
                return replica.http.post(path, content=content, headers=headers)
            except httpx.TransportError as error:
                is_slow = isinstance(error, httpx.TimeoutException)
                if not left or (is_slow and not isinstance(error, httpx.ConnectTimeout)):
                    raise
                log.warning(
                    "no answer from inference at %s: %r; asking another",
                    replica.http.base_url,
                    error,
                )
                replica.avoided_until = time.monotonic() + AVOIDED_S
            finally:
                with self._lock:
                    replica.calls -= 1

    def close(self) -> None:
        """Close all connections."""
        for replica in self._replicas:
            replica.http.close()

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


@cache
def _trust() -> ssl.SSLContext:
    """Return what trusts certifi's certificates, which take long to read."""
    return httpx.create_ssl_context(trust_env=False)
