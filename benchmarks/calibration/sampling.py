"""Random suites as counts, whose images are drawn from a pool with replacement.

Images with the same flips are one kind, so a suite of n images is one multinomial draw over the
kinds. The pool's difference is the true one, and a suite may be larger than its pool.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration.outcomes import CAPTIONS, Outcomes
from core.domain.gate.intervals import quantile

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SampledCounts:
    """One measure's counts in many suites of `images` images; arrays are (draws,)."""

    question: str
    images: int
    count: Integers  # answers: images, or captions of images
    gained: Integers
    lost: Integers
    design_effect: Numbers


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Two versions' flips on some questions about the same images."""

    questions: tuple[str, ...]
    kinds: Integers  # (kinds, 6 x questions): contribution of one image of a kind to the sums
    shares: Numbers  # (kinds,)

    @classmethod
    def of(cls, before: Outcomes, now: Outcomes, questions: Sequence[str]) -> "Pool":
        """Compare two versions on some questions, which must be about the same images."""
        rows = np.hstack([_rows(before, now, question) for question in questions])
        kinds, number = np.unique(rows, axis=0, return_counts=True)
        return cls(questions=tuple(questions), kinds=kinds, shares=number / number.sum())

    def draw(
        self, images: int, draws: int, rng: np.random.Generator, alpha: float
    ) -> dict[str, SampledCounts]:
        """Draw `draws` suites of `images` images; return each question's counts."""
        sums = rng.multinomial(images, self.shares, size=draws) @ self.kinds
        return {
            question: _sampled_counts(question, images, sums[:, 6 * i : 6 * i + 6], alpha)
            for i, question in enumerate(self.questions)
        }

    def reweighted(self, question: str, loss: float) -> "Pool":
        """Return the pool with its losing images weighted so that exactly `loss` is lost.

        The other images keep their shares relative to each other. Raises ValueError when no weight
        makes that loss.
        """
        i = self.questions.index(question)
        count, gained, lost = (self.kinds[:, 6 * i + column] for column in range(3))
        losing = lost > gained
        excess = self.shares * (lost - gained - loss * count)  # sums to 0 at the target loss
        losers, others = excess[losing].sum(), -excess[~losing].sum()
        if losers <= 0 or others < 0:
            raise ValueError(f"no weight of the losing images makes a loss of {loss}")
        shares = np.where(losing, others / losers * self.shares, self.shares)
        return replace(self, shares=shares / shares.sum())

    def rates(self, question: str) -> tuple[float, float]:
        """Return the shares of a question's answers that are gained and lost."""
        i = self.questions.index(question)
        count, gained, lost = self.shares @ self.kinds[:, 6 * i : 6 * i + 3]
        return float(gained / count), float(lost / count)

    def loss(self, question: str) -> float:
        """Return the later version's true loss of accuracy, from which drawn suites deviate."""
        gained, lost = self.rates(question)
        return lost - gained


def _rows(before: Outcomes, now: Outcomes, question: str) -> Integers:
    """Return each image's answers, gains, losses and products for a design effect, (images, 6)."""
    old, new = before.hits[question], now.hits[question]
    gained, lost = (new & ~old).astype(int), (old & ~new).astype(int)
    if question == CAPTIONS:
        sizes = now.captions
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        gained, lost = np.add.reduceat(gained, starts), np.add.reduceat(lost, starts)
    else:
        sizes = np.ones(len(gained), int)
    net = gained - lost
    return np.column_stack([sizes, gained, lost, net**2, net * sizes, sizes**2])


def _sampled_counts(question: str, images: int, sums: Integers, alpha: float) -> SampledCounts:
    clustered = question == CAPTIONS
    return SampledCounts(
        question=question,
        images=images,
        count=sums[:, 0],
        gained=sums[:, 1],
        lost=sums[:, 2],
        design_effect=design_effects(sums, alpha) if clustered else np.ones(len(sums)),
    )


def design_effects(sums: Integers, alpha: float) -> Numbers:
    """Compute `core.domain.gate.intervals.design_effect` of many suites from sums (draws, 6)."""
    total, gained, lost, squares, products, sizes = sums.T.astype(float)
    mean = (gained - lost) / total
    between = squares - 2 * mean * products + mean**2 * sizes
    independent = gained + lost - total * mean**2
    prior = quantile(alpha) ** 2
    effects: Numbers = (between + prior * sizes / total) / (independent + prior)
    return np.maximum(1.0, effects)
