"""Limits on sign-ins of browsers, and a record of those that fail."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Self

from api.background_writer import BackgroundWriter
from api.rates import WindowCounter
from core.audit import record as audit
from core.audit.rules import Action
from core.errors import RateExceeded
from core.platform import Platform

EVERY_S = 60
SIGN_INS = 20  # within EVERY_S
ADDRESSES = 20  # of an audit event
OTHERS = "others"


class Failures:
    """The number of sign-ins that failed, by the address that they came from."""

    def __init__(self, address: str) -> None:
        self.counts = Counter([address])

    def __len__(self) -> int:
        return len(self.counts)

    def __or__(self, newer: Self) -> Self:
        for address, failures in newer.counts.items():
            is_shown = address in self.counts or len(self.counts) < ADDRESSES
            self.counts[address if is_shown else OTHERS] += failures
        return self


class SignIns(BackgroundWriter[Failures]):
    """Limits sign-ins in this process, and writes one audit event a minute for all that fail.

    A secret signs in so many times a minute, and an address fails so many times. What fails from
    an address keeps no valid key out that comes from there.
    """

    def __init__(self, platform: Platform, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__("failed sign-ins", self._record, every_s=EVERY_S, most=ADDRESSES + 1)
        self._platform = platform
        self._clock = clock
        self._rate = WindowCounter(SIGN_INS, EVERY_S)

    def count(self, who: str) -> None:
        """Count a sign-in of a secret, or a failure of an address. Raises RateExceeded."""
        left = self._rate.take(who, self._clock())
        if not left.allowed:
            raise RateExceeded(
                f"These are too many sign-ins: try again in {left.reset_s} s.",
                retry_after_s=left.reset_s,
            )

    def note_failure(self, address: str) -> None:
        """Note that a sign-in has failed. Raises RateExceeded."""
        self.add(Failures(address))
        self.count(address)

    def _record(self, failures: Failures) -> None:
        told = {"failures": failures.counts.total(), "addresses": dict(failures.counts)}
        with self._platform.transactions() as work:
            now = self._platform.clock()
            audit.record(work, Action.SESSION_REFUSED, "sessions", now=now, after=told)
            work.commit()
