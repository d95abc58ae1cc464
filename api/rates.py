"""The rate of requests, counted by key in Redis or in this process's memory."""

import logging
import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.storage.redis.redispy import RedispyBridge
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from redis.asyncio import BlockingConnectionPool

from core.settings import Settings

log = logging.getLogger(__name__)

REDIS = ("redis://", "rediss://")
REDIS_S = 1.0  # the longest wait for Redis
REDIS_CONNECTIONS = 4  # requests that arrive together take turns, and each takes a millisecond
ALONE_S = 5.0  # after Redis has failed, this process counts alone for so long


class Rate(StrEnum):
    """The kinds of requests that are counted, by their names in the headers."""

    REQUESTS = "requests"
    INFERENCE = "inference"  # requests that only ask a model


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """The rest of a rate, after a request was counted."""

    rate: Rate
    allowed: bool  # whether the request was within the rate
    requests: int  # the rate: so many in `window_s`
    window_s: int
    remaining: int
    reset_s: int  # seconds until more are allowed

    @property
    def headers(self) -> Mapping[str, str]:
        """The fields of draft-ietf-httpapi-ratelimit-headers-10, which are structured fields."""
        return {
            "RateLimit-Policy": f'"{self.rate}";q={self.requests};w={self.window_s}',
            "RateLimit": f'"{self.rate}";r={self.remaining};t={self.reset_s}',
        }


class WindowCounter:
    """Counts requests in this process's memory, in the sliding window of `limits`.

    What was counted in the window before counts in part, by how much of this one is left. The
    counters of `limits` would make a task or a thread for each request.
    """

    def __init__(self, requests: int, seconds: int, rate: Rate = Rate.REQUESTS) -> None:
        self._rate = rate
        self._requests = requests
        self._seconds = seconds
        self._window = 0.0  # its number
        self._before: Counter[str] = Counter()  # in the window before
        self._within: Counter[str] = Counter()

    def take(self, caller: str, now: float) -> Allowance:
        """Count a request of a caller, unless its rate is exhausted, and return what is left.

        `now` is in seconds and never falls.
        """
        window, passed = divmod(now, self._seconds)
        if window != self._window:
            self._before = self._within if window == self._window + 1 else Counter()
            self._within, self._window = Counter(), window
        rest = self._seconds - passed
        before = self._before[caller]
        counted = before * rest / self._seconds + self._within[caller]
        allowed = math.floor(counted) < self._requests
        if allowed:
            self._within[caller] += 1
            counted += 1
        # Then one of those before no longer counts, or else this window has ended.
        reset = rest % (self._seconds / before) if before else rest
        return Allowance(
            rate=self._rate,
            allowed=allowed,
            requests=self._requests,
            window_s=self._seconds,
            remaining=self._requests - math.floor(counted),
            reset_s=max(1, math.ceil(reset)),
        )


class Rates:
    """Counts requests by who makes them, in a sliding window.

    API processes that share a Redis count together. While Redis does not respond, each counts
    alone, so that nobody is refused for its sake.
    """

    def __init__(self, settings: Settings) -> None:
        most = {Rate.REQUESTS: settings.rate_requests, Rate.INFERENCE: settings.rate_inference}
        seconds = settings.rate_seconds
        self._rates = {
            rate: RateLimitItemPerSecond(requests, seconds, namespace=rate)
            for rate, requests in most.items()
            if requests
        }
        self._alone = {rate: WindowCounter(most[rate], seconds, rate) for rate in self._rates}
        self._shared = self._redis = None
        self._alone_until = -math.inf
        if settings.broker.startswith(REDIS):
            self._redis = RedisStorage(
                settings.broker,
                wrap_exceptions=True,
                implementation="redispy",
                key_prefix="perennial.rates",
                connection_pool=BlockingConnectionPool.from_url(  # type: ignore[arg-type]
                    settings.broker,
                    max_connections=REDIS_CONNECTIONS,
                    timeout=REDIS_S,
                    socket_timeout=REDIS_S,
                    socket_connect_timeout=REDIS_S,
                ),
            )
            self._shared = SlidingWindowCounterRateLimiter(self._redis)

    async def take(self, caller: str, rate: Rate) -> Allowance | None:
        """Count a request of a caller, unless its rate is exhausted, and return what is left.

        None if the settings have no such rate.
        """
        if rate not in self._rates:
            return None
        if self._shared is not None and time.monotonic() >= self._alone_until:
            try:
                return await self._take_shared(self._shared, caller, rate)
            except StorageError as error:
                self._alone_until = time.monotonic() + ALONE_S
                log.warning(
                    "Redis does not respond: this process counts requests alone for %g s",
                    ALONE_S,
                    extra={"error": str(error)},
                )
        return self._alone[rate].take(caller, time.monotonic())

    async def close(self) -> None:
        """Close the connections to Redis."""
        if self._redis is not None and isinstance(self._redis.bridge, RedispyBridge):
            await self._redis.bridge.storage.aclose()

    async def _take_shared(
        self, counter: SlidingWindowCounterRateLimiter, caller: str, rate: Rate
    ) -> Allowance:
        limit = self._rates[rate]
        allowed = await counter.hit(limit, caller)
        left = await counter.get_window_stats(limit, caller)
        return Allowance(
            rate=rate,
            allowed=allowed,
            requests=limit.amount,
            window_s=limit.get_expiry(),
            remaining=left.remaining,
            reset_s=max(1, math.ceil(left.reset_time - time.time())),
        )
