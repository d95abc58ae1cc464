"""Counts of trials at every look, and the looks at which the sequential test decides."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.domain.trials.betting import BETS, mirrored
from core.domain.trials.confidence_sequence import (
    LIMIT,
    Hits,
    Pairs,
    rejects_independent,
    rejects_paired,
)

PLACES = 9  # common accuracies at which a bound is computed

Counts = NDArray[np.int64]  # runs, looks


@dataclass(frozen=True)
class CanaryLooks:
    """Labels and right answers of the first and of the second version at each look."""

    n1: Counts
    s1: Counts
    n2: Counts
    s2: Counts

    def ratios(self) -> NDArray[np.float64]:
        """Return the log likelihood ratio of different and equal accuracies: no capital exceeds it.

        The capital is the mean of likelihood ratios against the least favourable common accuracy.
        """
        free: NDArray[np.float64] = _likelihood(self.s1, self.n1) + _likelihood(self.s2, self.n2)
        return free - _likelihood(self.s1 + self.s2, self.n1 + self.n2)

    def bounds(self, run: int, looks: Counts) -> NDArray[np.float64]:
        """Return a capital at some common accuracies: the least at any of them does not exceed it.

        Both directions are tried, and the larger one is returned.
        """
        n1, s1, n2, s2 = (each[run, looks] for each in (self.n1, self.s1, self.n2, self.s2))
        one, other = s1 / np.maximum(n1, 1), s2 / np.maximum(n2, 1)
        places = np.linspace(0, 1, PLACES)[:, None]
        common = np.clip(one + places * (other - one), 1e-9, 1 - 1e-9)
        better = _capital(s2, n2, common) + _capital(n1 - s1, n1, 1 - common)
        worse = _capital(n2 - s2, n2, 1 - common) + _capital(s1, n1, common)
        bounds: NDArray[np.float64] = np.maximum(better.min(axis=0), worse.min(axis=0))
        return bounds

    def decides(self, run: int, look: int) -> int:
        """Return 1 if the second version is found better at a look, -1 if worse, otherwise 0."""
        first = Hits(labelled=int(self.n1[run, look]), right=int(self.s1[run, look])).values
        second = Hits(labelled=int(self.n2[run, look]), right=int(self.s2[run, look])).values
        return int(rejects_independent(first, second, 0)) - int(
            rejects_independent(second, first, 0)
        )

    def scores(self) -> NDArray[np.float64]:
        """Return the z of a test of two proportions."""
        n1, n2 = np.maximum(self.n1, 1), np.maximum(self.n2, 1)
        common = (self.s1 + self.s2) / (n1 + n2)
        spread = np.sqrt(np.maximum(common * (1 - common), 1e-9) * (1 / n1 + 1 / n2))
        z = np.abs(self.s2 / n2 - self.s1 / n1) / spread
        return np.where(np.minimum(self.n1, self.n2) >= 10, z, 0)


@dataclass(frozen=True)
class ShadowLooks:
    """Pairs, and those that only the second or only the first has right, at each look."""

    pairs: Counts
    gained: Counts
    lost: Counts

    def ratios(self) -> NDArray[np.float64]:
        """Return the log likelihood ratio of any and of equal chances: no capital exceeds it."""
        discordant = self.gained + self.lost
        equal = discordant * np.log(2)
        return np.asarray(_likelihood(self.gained, discordant) + equal, dtype=np.float64)

    def bounds(self, run: int, looks: Counts) -> NDArray[np.float64]:
        """Return no further bound: a decision takes little time."""
        return np.full(len(looks), np.inf)

    def decides(self, run: int, look: int) -> int:
        """Return 1 if the second version is found better at a look, -1 if worse, otherwise 0."""
        values = Pairs(
            labelled=int(self.pairs[run, look]),
            gained=int(self.gained[run, look]),
            lost=int(self.lost[run, look]),
        ).values
        return int(rejects_paired(values, 0)) - int(rejects_paired(mirrored(values), 0))

    def scores(self) -> NDArray[np.float64]:
        """Return the z of McNemar's test."""
        discordant = self.gained + self.lost
        z = np.abs(self.gained - self.lost) / np.sqrt(np.maximum(discordant, 1))
        return np.where(discordant >= 10, z, 0)


Looks = CanaryLooks | ShadowLooks


def decisions(looks: Looks) -> Iterator[tuple[int, int] | None]:
    """Yield for each run the first look at which the test decides and how, or None."""
    possible = looks.ratios() >= LIMIT
    for run in range(len(possible)):
        candidates = np.flatnonzero(possible[run])
        candidates = candidates[looks.bounds(run, candidates) >= LIMIT]
        found = ((int(look), way) for look in candidates if (way := looks.decides(run, int(look))))
        yield next(found, None)


def _capital(right: Counts, count: Counts, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what `log_capital` does, for arrays (means, looks)."""
    bets = np.array(BETS)[:, None, None]
    logs = right * np.log1p(bets * (1 / mean - 1)) + (count - right) * np.log1p(-bets)
    capital: NDArray[np.float64] = np.logaddexp.reduce(logs, axis=0) - np.log(len(BETS))
    return capital


def _likelihood(right: Counts, count: Counts) -> NDArray[np.float64]:
    """Return the log likelihood of right answers under their own share."""
    whole: NDArray[np.float64] = _times_log(right) + _times_log(count - right) - _times_log(count)
    return whole


def _times_log(count: Counts) -> NDArray[np.float64]:
    logs: NDArray[np.float64] = np.log(np.maximum(count, 1))
    return np.asarray(count * logs, dtype=np.float64)
