"""Simulated lines: hundreds of updates, each judged by the same suite against parent and root.

The true losses are chosen, so each promotion is known to be right or wrong. Only the suite is
simulated, and every gain holds. A suite's images are a random draw, and so are the answers that
flip, so a version's counts on the suite are trinomial with the true rates.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from core.domain.gate.intervals import Flips, quantile, score
from core.domain.gate.policy import GatePolicy

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]

CHURN = 0.05  # share of answers that flip, unless a loss takes more


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """The making of a line's candidates: their true losses, and the answers they share."""

    name: str
    from_root: Callable[[Integers], Numbers]  # true loss, by number of promotions so far
    from_parent: Callable[[Integers], Numbers] | None  # None: all are trained from the root
    redrawn: float = 1.0  # share of answers that differ at random between candidates
    climbs: bool = False  # whether the best candidate on the suite, not the first, is redrawn


@dataclass(frozen=True, kw_only=True)
class Course:
    """The verdicts and promotions of many lines; arrays are (updates, lines)."""

    passed: Mask
    wrong: Mask  # passed, though beyond the tolerance against parent or root


def simulate(
    scenario: Scenario,
    policy: GatePolicy,
    *,
    images: int,
    lines: int,
    updates: int,
    rng: np.random.Generator,
) -> Course:
    """Judge all updates of many lines; a version that passes is promoted."""
    promotions = np.zeros(lines, dtype=np.int64)
    allowed = policy.root_tolerance
    if scenario.from_parent is None:
        allowed = min(allowed, policy.parent_tolerance)
    best = None
    passed, wrong = [], []
    for verdict in range(1, updates + 1):
        level = policy.level(verdict) or policy.alpha
        root_loss = scenario.from_root(promotions)
        against_root = _draw(images, root_loss, rng)
        if best is not None and scenario.redrawn < 1:
            against_root = _redraw(best, scenario.redrawn, root_loss, rng)
        if best is None or scenario.climbs:
            best = _better(best, against_root)
        now, beyond = holds(against_root, allowed, level), root_loss > allowed
        if scenario.from_parent is not None:
            parent_loss = scenario.from_parent(promotions)
            now &= holds(_draw(images, parent_loss, rng), policy.parent_tolerance, level)
            beyond |= parent_loss > policy.parent_tolerance
        passed.append(now)
        wrong.append(now & beyond)
        promotions += now
    return Course(passed=np.array(passed), wrong=np.array(wrong))


def holds(counts: Integers, tolerance: float, level: float) -> Mask:
    """Return which counts, (lines, 3) gained, lost and same, hold; equal counts are judged once."""
    kinds, index = np.unique(counts, axis=0, return_inverse=True)
    scores = [_score(int(g + w + s), int(g), int(w), tolerance) for g, w, s in kinds]
    mask: Mask = (np.array(scores) >= quantile(level))[index.ravel()]
    return mask


@cache
def _score(count: int, gained: int, lost: int, tolerance: float) -> float:
    """Return the score that decides: the lower bound is within tolerance if it reaches z."""
    return score(Flips(count=count, gained=gained, lost=lost), -tolerance)


def _rates(loss: Numbers) -> Numbers:
    """Return the rates of answers gained, lost and the same, (lines, 3)."""
    churn = np.maximum(CHURN, loss)
    gained, lost = (churn - loss) / 2, (churn + loss) / 2
    return np.stack([gained, lost, 1 - gained - lost], axis=1)


def _draw(images: int | Integers, loss: Numbers, rng: np.random.Generator) -> Integers:
    drawn: Integers = rng.multinomial(images, _rates(loss))
    return drawn


def _redraw(counts: Integers, share: float, loss: Numbers, rng: np.random.Generator) -> Integers:
    """Return the counts with a random share of the answers drawn anew."""
    kept = rng.binomial(counts, 1 - share)
    return kept + _draw(counts.sum(axis=1) - kept.sum(axis=1), loss, rng)


def _better(best: Integers | None, counts: Integers) -> Integers:
    if best is None:
        return counts
    gained, lost, _ = (counts - best).T
    return np.where((gained > lost)[:, None], counts, best)
