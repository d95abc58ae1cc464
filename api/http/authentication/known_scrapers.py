"""Keys that may read metrics while the database, which holds them, does not respond."""

import time
from collections.abc import Callable

from core.domain.access.principal import Principal
from core.domain.values import Digest, sha256

PATH = "/metrics"
KNOWN_S = 300.0  # a key that was revoked since may read this process's metrics for so long
MOST = 16


class KnownScrapers:
    """Keys that have read metrics lately: that the database is down is itself a metric."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[Digest, tuple[Principal, float]] = {}  # the one seen last at the end

    def remember(self, secret: str, holder: Principal) -> None:
        """Remember who has just read metrics, in the place of the one not seen for longest."""
        digest = sha256(secret.encode())
        self._known.pop(digest, None)
        self._known[digest] = (holder, self._clock())
        while len(self._known) > MOST:
            del self._known[next(iter(self._known))]

    def find(self, secret: str) -> Principal | None:
        """Return who holds a key, if they have read metrics lately."""
        holder, at = self._known.get(sha256(secret.encode()), (None, 0.0))
        return holder if self._clock() - at < KNOWN_S else None
