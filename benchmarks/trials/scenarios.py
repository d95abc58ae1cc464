"""Pairs of versions whose trials are simulated."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from benchmarks.trials.looks import CanaryLooks, Counts, ShadowLooks

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
