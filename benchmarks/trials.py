"""Pairs of versions whose trials are simulated."""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.output import publish
from core.gate.intervals import proportion_interval
from core.trials.bets import BETS, LIMIT, Hits, Pairs, mirrored, rejects_independent, rejects_paired

# Counts of trials at every look, and the looks at which the sequential test decides.


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


FIXED_Z = 1.959964  # of a test that may be looked at once, at 5 %

Rng = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Canary:
    """Two versions that answer different images, the second a share of them."""

    share: float
    accuracy: float  # of the first
    drift: float = 0.0  # of both versions' accuracy, over a run
    effect: float = 0.0

    @property
    def label(self) -> str:
        """The scenario in words."""
        drift = f", falling to {self.accuracy + self.drift:g}" if self.drift else ""
        return f"canary of {self.share:g}, accuracy {self.accuracy:g}{drift}"

    def looks(self, sizes: Counts, runs: int, rng: Rng) -> CanaryLooks:
        """Return the counts after so many labels."""
        steps = np.diff(sizes, prepend=0)
        accuracy = self.accuracy + self.drift * sizes / sizes[-1]
        second = rng.binomial(steps, self.share, (runs, len(steps)))
        right = rng.binomial(steps - second, accuracy), rng.binomial(second, accuracy + self.effect)
        n2 = second.cumsum(axis=1)
        return CanaryLooks(sizes - n2, right[0].cumsum(axis=1), n2, right[1].cumsum(axis=1))

    def fixed_size(self) -> float:
        """Return the labels that a test of a size fixed before needs for a power of 80 %."""
        second = self.accuracy + self.effect
        variance = self.accuracy * (1 - self.accuracy) / (1 - self.share)
        return _fixed(variance + second * (1 - second) / self.share, self.effect)


@dataclass(frozen=True, kw_only=True)
class CallersCanary:
    """A canary of a half, whose callers each stay with one version.

    Half of the callers send harder images than the others. `once`: one label of each counts.
    """

    callers: int
    once: bool
    accuracies: tuple[float, float] = (0.95, 0.65)
    effect: float = 0.0

    @property
    def label(self) -> str:
        """The scenario in words."""
        counted = "one label of each" if self.once else "each label"
        return f"canary of 0.5, {self.callers:,} callers, {counted} counts"

    def looks(self, sizes: Counts, runs: int, rng: Rng) -> CanaryLooks:
        """Return the counts after so many labels."""
        who = rng.integers(self.callers, size=(runs, sizes[-1]))
        candidate = np.take_along_axis(rng.random((runs, self.callers)) < 0.5, who, axis=1)
        right = rng.random(who.shape) < np.where(who % 2, *self.accuracies)
        counted = _first_of_each(who) if self.once else np.ones(who.shape, dtype=bool)

        def after(labels: NDArray[np.bool_]) -> Counts:
            return np.asarray(labels.cumsum(axis=1)[:, sizes - 1])

        return CanaryLooks(
            *(
                after(labels)
                for arm in (~candidate, candidate)
                for labels in (counted & arm, counted & arm & right)
            )
        )


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """Two versions that answer the same images; of a share of them only one is right."""

    discordant: float
    effect: float = 0.0

    @property
    def label(self) -> str:
        """The scenario in words."""
        return f"shadow, one alone right on {self.discordant:.0%}"

    def looks(self, sizes: Counts, runs: int, rng: Rng) -> ShadowLooks:
        """Return the counts after so many labels."""
        steps = np.diff(sizes, prepend=0)
        found = rng.binomial(steps, self.discordant, (runs, len(steps)))
        gained = rng.binomial(found, (1 + self.effect / self.discordant) / 2)
        return ShadowLooks(
            np.broadcast_to(sizes, found.shape),
            gained.cumsum(axis=1),
            (found - gained).cumsum(axis=1),
        )

    def fixed_size(self) -> float:
        """Return the labels that a test of a size fixed before needs for a power of 80 %."""
        return _fixed(self.discordant - self.effect**2, self.effect)


Scenario = Canary | CallersCanary | Shadow

EQUAL: Sequence[Scenario] = (
    *(Canary(share=share, accuracy=p) for share in (0.05, 0.1, 0.5) for p in (0.5, 0.9, 0.98)),
    Canary(share=0.1, accuracy=0.9, drift=-0.3),
    *(CallersCanary(callers=n, once=once) for n in (20, 1000) for once in (False, True)),
    *(Shadow(discordant=d) for d in (0.01, 0.1, 0.3)),
)


def differing(effect: float) -> Sequence[Canary | Shadow]:
    """Return the scenarios of one size of effect."""
    return (
        Canary(share=0.1, accuracy=0.8, effect=effect),
        Canary(share=0.5, accuracy=0.8, effect=effect),
        Canary(share=0.5, accuracy=0.8, effect=-effect),
        Shadow(discordant=0.12, effect=effect),
        Shadow(discordant=0.3, effect=effect),
    )


def _first_of_each(who: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which labels are the first of their caller in their run."""
    first = np.zeros(who.shape, dtype=bool)
    for run, callers in enumerate(who):
        first[run, np.unique(callers, return_index=True)[1]] = True
    return first


def _fixed(variance: float, effect: float) -> float:
    power = NormalDist().inv_cdf(0.8)
    return float((FIXED_Z + power) ** 2 * variance / effect**2)


# Measure false alarms and delays of the sequential test of a trial: `make bench-trials`.
#
# False alarms: two equal versions, looked at after every label. Delays: versions that differ,
# looked at whenever one label in a hundred is new. Every decision is that of
# `core.trials.bets`; bounds that are proven to be larger than its capital
# only skip looks at which it could not decide.


SEED = 1

RUNS = 2000

LABELS = 10_000  # of a run of equal versions

MOST_LABELS = 1_000_000  # of a run of versions that differ

AT_ONCE = 100  # runs, for memory

EFFECTS = (0.01, 0.02, 0.05, 0.1)


def main() -> int:
    """Print and write both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trials", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="of each pair of versions")
    parser.add_argument("--labels", type=int, default=LABELS, help="of a run of equal versions")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", help="equal versions whose label holds this, without delays")
    asked = parser.parse_args()
    began, rng = time.process_time(), np.random.default_rng(asked.seed)
    equal = [each for each in EQUAL if not asked.only or asked.only in each.label]
    alarms = [false_alarms(each, asked.runs, asked.labels, rng) for each in equal]
    publish("trials", alarms, seed=asked.seed)
    if not asked.only:
        pairs = [each for effect in EFFECTS for each in differing(effect)]
        slow = [delays(each, asked.runs, MOST_LABELS, rng) for each in pairs]
        publish("trials-delays", slow, seed=asked.seed)
    print(f"{time.process_time() - began:.0f} s of CPU")
    return 0


def false_alarms(scenario: Scenario, runs: int, labels: int, rng: Rng) -> Mapping[str, Any]:
    """Return how many runs of equal versions ever found a difference."""
    sizes = np.arange(1, labels + 1)
    alarms = naive = 0
    for first in range(0, runs, AT_ONCE):
        looks = scenario.looks(sizes, min(AT_ONCE, runs - first), rng)
        alarms += sum(found is not None for found in decisions(looks))
        naive += int((looks.scores() > FIXED_Z).any(axis=1).sum())
    interval = proportion_interval(alarms, runs, 0.025)
    return {
        "equal versions": scenario.label,
        "runs": runs,
        "labels": labels,
        "false alarms, %": 100 * alarms / runs,
        "95 % interval": f"{100 * interval.lower:.2f} to {100 * interval.upper:.2f}",
        "a fixed-size test looked at as often, %": 100 * naive / runs,
    }


def delays(scenario: Canary | Shadow, runs: int, most: int, rng: Rng) -> Mapping[str, Any]:
    """Return after how many labels versions that differ are told apart."""
    grid = np.unique(np.concatenate([np.arange(1, 101), np.geomspace(100, most, 930).astype(int)]))
    found: list[float] = []
    wrong = 0
    for first in range(0, runs, AT_ONCE):
        looks = scenario.looks(grid, min(AT_ONCE, runs - first), rng)
        for decided in decisions(looks):
            found.append(np.inf if decided is None else float(grid[decided[0]]))
            wrong += decided is not None and decided[1] * scenario.effect < 0
    low, middle, high = np.quantile(found, [0.1, 0.5, 0.9], method="inverted_cdf")
    fixed = scenario.fixed_size()
    return {
        "effect, points": 100 * scenario.effect,
        "versions": scenario.label,
        "runs": runs,
        "median labels": middle,
        "10 % to 90 %": f"{low:,.0f} to {high:,.0f}",
        "wrong way, %": 100 * wrong / runs,
        "fixed-size test, power 80 %": round(fixed),
        "median / fixed": middle / fixed,
    }


if __name__ == "__main__":
    sys.exit(main())
