"""Pairs of versions whose trials are simulated."""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.output import publish
from core.gate.intervals import Interval, proportion_interval
from core.trials.bets import (
    LIMIT,
    SHARE_LIMIT,
    SIGN_LIMIT,
    STAKES,
    Hits,
    Pairs,
    paired_difference,
    rejects_independent,
)

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
    """Answers, disagreements and their labels at each look."""

    answered: Counts
    disagreed: Counts
    labelled: Counts  # of the disagreements
    gained: Counts
    lost: Counts

    def ratios(self) -> NDArray[np.float64]:
        """Return the log likelihood ratio of any and of equal chances: no capital exceeds it."""
        discordant = self.gained + self.lost
        equal = discordant * np.log(2) - (SIGN_LIMIT - LIMIT)
        return np.asarray(_likelihood(self.gained, discordant) + equal, dtype=np.float64)

    def bounds(self, run: int, looks: Counts) -> NDArray[np.float64]:
        """Return the capital of the direction that has won more."""
        won, lost = self.gained[run, looks], self.lost[run, looks]
        better, worse = ({1.0: one, 0.0: other} for one, other in ((won, lost), (lost, won)))
        capital = np.maximum(_log_capital(better, 0.5), _log_capital(worse, 0.5))
        return capital - (SIGN_LIMIT - LIMIT)

    def interval(self, run: int, look: int) -> Interval:
        """Return the interval of the difference at a look."""
        agreed = self.answered[run, look] - self.disagreed[run, look]
        rest = (self.disagreed, self.labelled, self.gained, self.lost)
        disagreed, labelled, gained, lost = (int(each[run, look]) for each in rest)
        return paired_difference(
            Pairs(
                agreed=int(agreed), disagreed=disagreed, labelled=labelled, gained=gained, lost=lost
            )
        )

    def decides(self, run: int, look: int) -> int:
        """Return 1 if the second version is found better at a look, -1 if worse, otherwise 0."""
        found = self.interval(run, look)
        return int(found.lower > 0) - int(found.upper < 0)

    def scores(self) -> NDArray[np.float64]:
        """Return the z of McNemar's test."""
        discordant = self.gained + self.lost
        z = np.abs(self.gained - self.lost) / np.sqrt(np.maximum(discordant, 1))
        return np.where(discordant >= 10, z, 0)

    def misses(self, share: NDArray[np.float64], sign: float) -> NDArray[np.bool_]:
        """Return which runs have an interval, at any look, without the true difference then.

        That can only be where one of the parts is not in its own interval.
        """
        agreed = self.answered - self.disagreed
        possible = _rejects({1.0: self.disagreed, 0.0: agreed}, share, SHARE_LIMIT)
        neither = self.labelled - self.gained - self.lost
        signs = {1.0: self.gained, 0.5: neither, 0.0: self.lost}
        possible |= _rejects(signs, (1 + sign) / 2, SIGN_LIMIT)
        true = share * sign

        def missed(run: int) -> bool:
            looks = np.flatnonzero(possible[run])
            found = ((self.interval(run, int(look)), true[look]) for look in looks)
            return any(not one.lower <= value <= one.upper for one, value in found)

        return np.array([missed(run) for run in range(len(possible))])


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
    return _log_capital({1.0: right, 0.0: count - right}, mean)


def _log_capital(
    values: Mapping[float, Counts], mean: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    whole = sum(values.values())
    capital: Any = -np.inf
    for stake in STAKES:
        won = sum(count * np.log1p(stake * value) for value, count in values.items())
        capital = np.logaddexp(capital, won - whole * np.log1p(stake * mean))
    return np.asarray(capital - np.log(len(STAKES)), dtype=np.float64)


def _rejects(
    values: Mapping[float, Counts], mean: NDArray[np.float64] | float, limit: float
) -> NDArray[np.bool_]:
    """Return at which looks a mean is not between its bounds."""
    below = _log_capital({1 - value: count for value, count in values.items()}, 1 - mean)
    return np.asarray((_log_capital(values, mean) >= limit) | (below >= limit))


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
    """Two versions that answer the same images; of a share of them only one is right.

    They also disagree where neither is right, a quarter as often. Looks are at so many labels.
    """

    discordant: float
    effect: float = 0.0
    only: bool = False  # disagreements are labelled, instead of images drawn from all

    @property
    def label(self) -> str:
        """The scenario in words."""
        asked = "disagreements" if self.only else "any images"
        return f"shadow, one alone right on {self.discordant:.0%}, {asked} labelled"

    @property
    def share(self) -> float:
        """The share of disagreements."""
        return 1.25 * self.discordant

    def looks(self, sizes: Counts, runs: int, rng: Rng) -> ShadowLooks:
        """Return the counts after so many labels."""
        labels = np.diff(sizes, prepend=0)
        if self.only:  # each waits until an image comes about which they disagree
            disagreed = np.broadcast_to(labels, (runs, len(labels)))
            answered = disagreed + rng.negative_binomial(labels, self.share, disagreed.shape)
        else:
            answered = np.broadcast_to(labels, (runs, len(labels)))
            disagreed = rng.binomial(labels, self.share, answered.shape)
        return _shadow_looks(answered, disagreed, disagreed, self, rng)

    def fixed_size(self) -> float:
        """Return the labels that a test of a size fixed before needs for a power of 80 %."""
        labels = _fixed(self.discordant - self.effect**2, self.effect)
        return labels * self.share if self.only else labels


def _shadow_looks(
    answered: Counts, disagreed: Counts, labelled: Counts, versions: Shadow, rng: Rng
) -> ShadowLooks:
    """Return the counts after so many more answers and labels of disagreements at each look."""
    found = rng.binomial(labelled, versions.discordant / versions.share)
    gained = rng.binomial(found, (1 + versions.effect / versions.discordant) / 2)
    steps = (answered, disagreed, labelled, gained, found - gained)
    return ShadowLooks(*(each.cumsum(axis=1) for each in steps))


class Labelling(StrEnum):
    """A way in which labels of a shadow come, while its versions answer one image after another."""

    RANDOM = "a tenth of all images"
    DISAGREEMENTS = "every disagreement"
    SOME = "a fifth of the disagreements"
    LATE = "every disagreement, 2,000 images late"
    MOVING = "every disagreement; their share triples"


def _shares(versions: Shadow, how: Labelling, images: int) -> NDArray[np.float64]:
    """Return with what probability the versions disagree about each image."""
    end = 1.5 if how is Labelling.MOVING else 1.0
    return versions.share * np.linspace(2 - end, end, images)


def answered_looks(
    versions: Shadow, how: Labelling, images: int, runs: int, rng: Rng
) -> ShadowLooks:
    """Return the counts after each image."""
    disagreed = rng.binomial(1, _shares(versions, how, images), (runs, images))
    parts = {Labelling.RANDOM: 0.1, Labelling.SOME: 0.2}
    labelled = rng.binomial(disagreed, parts.get(how, 1.0))
    if how is Labelling.LATE:
        labelled = np.pad(labelled, ((0, 0), (2000, 0)))[:, :images]
    return _shadow_looks(np.ones_like(disagreed), disagreed, labelled, versions, rng)


Scenario = Canary | CallersCanary | Shadow

EQUAL: Sequence[Scenario] = (
    *(Canary(share=share, accuracy=p) for share in (0.05, 0.1, 0.5) for p in (0.5, 0.9, 0.98)),
    Canary(share=0.1, accuracy=0.9, drift=-0.3),
    *(CallersCanary(callers=n, once=once) for n in (20, 1000) for once in (False, True)),
    *(Shadow(discordant=d, only=only) for only in (False, True) for d in (0.01, 0.1, 0.3)),
)


def differing(effect: float) -> Sequence[Canary | Shadow]:
    """Return the scenarios of one size of effect."""
    return (
        Canary(share=0.1, accuracy=0.8, effect=effect),
        Canary(share=0.5, accuracy=0.8, effect=effect),
        Canary(share=0.5, accuracy=0.8, effect=-effect),
        *(Shadow(discordant=d, effect=effect, only=o) for d in (0.12, 0.3) for o in (False, True)),
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
# looked at whenever one label in a hundred is new. Coverage: intervals of shadows whose labels come
# in several ways, looked at after every image. Every decision is that of
# `core.trials.bets`; bounds that are proven to be larger than its capital
# only skip looks at which it could not decide.


SEED = 1

RUNS = 2000

LABELS = 10_000  # of a run of equal versions

MOST_LABELS = 1_000_000  # of a run of versions that differ

AT_ONCE = 100  # runs, for memory

EFFECTS = (0.01, 0.02, 0.05, 0.1)


def main() -> int:
    """Print and write the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trials", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="of each pair of versions")
    parser.add_argument("--labels", type=int, default=LABELS, help="of a run of equal versions")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", help="equal versions whose label holds this, or coverage")
    asked = parser.parse_args()
    began, rng = time.process_time(), np.random.default_rng(asked.seed)
    equal = [each for each in EQUAL if not asked.only or asked.only in each.label]
    if equal:
        alarms = [false_alarms(each, asked.runs, asked.labels, rng) for each in equal]
        publish("trials", alarms, seed=asked.seed)
    if not asked.only:
        pairs = [each for effect in EFFECTS for each in differing(effect)]
        slow = [delays(each, asked.runs, MOST_LABELS, rng) for each in pairs]
        publish("trials-delays", slow, seed=asked.seed)
    if not asked.only or "coverage" in asked.only:
        held = [
            coverage(
                Shadow(discordant=0.12, effect=effect), how, asked.runs // 4, asked.labels, rng
            )
            for effect in (0.0, 0.02, 0.1)
            for how in Labelling
        ]
        publish("trials-coverage", held, seed=asked.seed)
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


def coverage(
    versions: Shadow, how: Labelling, runs: int, images: int, rng: Rng
) -> Mapping[str, Any]:
    """Return how many runs of a shadow had an interval, at any time, without the difference."""
    missed, estimates = 0, []
    for first in range(0, runs, AT_ONCE):
        looks = answered_looks(versions, how, images, min(AT_ONCE, runs - first), rng)
        sign = versions.effect / versions.share
        shares = _shares(versions, how, images).cumsum() / np.arange(1, images + 1)
        missed += int(looks.misses(shares, sign).sum())
        last = (looks.disagreed / looks.answered * (looks.gained - looks.lost))[:, -1]
        estimates.append(last / np.maximum(looks.labelled[:, -1], 1))
    interval = proportion_interval(missed, runs, 0.025)
    return {
        "difference, points": 100 * versions.effect,
        "labelled": how.value,
        "runs": runs,
        "images": images,
        "missed at any time, %": 100 * missed / runs,
        "95 % interval": f"{100 * interval.lower:.2f} to {100 * interval.upper:.2f}",
        "mean estimate, points": 100 * float(np.concatenate(estimates).mean()),
    }


if __name__ == "__main__":
    sys.exit(main())
