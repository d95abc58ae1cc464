"""Lines whose candidates keep most of their parent's answers, judged by several budgets.

As in the simulation without inheritance, true losses are chosen and only one suite is simulated. Of
each image it has whether the root, the live version and the candidate are right. Images are alike
but for that, so counts of the four kinds of images are enough, and binomial draws are exact.

A candidate keeps its parent's answer to an image with a probability that gives the wanted rate of
flips, and else answers as another version of its true accuracy would. What it keeps includes the
luck for which its parent was promoted.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri

from benchmarks.calibration.intervals import Integers, Mask, Numbers
from benchmarks.calibration.rates import tango_score
from core.gate.levels import KEPT_LUCK
from core.gate.rules import GatePolicy

ACCURACY = 0.9  # of the root

FROM_ROOT = 0.08  # share of answers that differ between root and another version, or the loss


class Answers(NamedTuple):
    """Right answers of a version by line and part of the suite, (lines, parts)."""

    kept: Integers  # where the root is right
    won: Integers  # where the root is wrong


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A way to share a line's error; the level of a verdict depends on what came before it."""

    name: str
    parts: int = 1  # of the suite; with two, each promotion makes the other half judge
    renewed_after: int | None = None  # promotions, whereupon new images judge with a new budget
    restarted_after: int | None = None  # verdicts, as if an erasure made the suite a new one
    counts_tries: bool = False  # whether a child pays for the tries that its ancestors took
    shared: bool = True  # False: every verdict has the policy's alpha


BY_VERDICTS = Budget(name="by verdicts")

CHOSEN = Budget(name="by verdicts and tries", counts_tries=True)

BUDGETS = (
    Budget(name="none", shared=False),
    BY_VERDICTS,
    replace(BY_VERDICTS, name="by verdicts, an erasure every 30", restarted_after=30),
    replace(BY_VERDICTS, name="halves by turns", parts=2),
    replace(BY_VERDICTS, name="renewed after 5 promotions", renewed_after=5),
    CHOSEN,
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """The loss of each candidate of a line: a step more than its parent's, up to `most`."""

    step: float
    most: float  # against the root


@dataclass(frozen=True, kw_only=True)
class Lines:
    """The outcome of many lines."""

    wrong: Numbers  # share of lines that ever promoted a version beyond a tolerance, by verdict
    promotions: float  # of a line, on average


def kept_share(flips: float) -> float:
    """Return the share of answers to keep for so many flips between a version and its child."""
    lost, won = _differing(np.zeros(1))
    fresh = 2 * ACCURACY * lost * (1 - lost) + 2 * (1 - ACCURACY) * won * (1 - won)
    return float(1 - flips / fresh[0])


def _differing(loss: Numbers) -> tuple[Numbers, Numbers]:
    """Return the shares lost of the root's right answers, and won of its wrong ones."""
    churn = np.maximum(FROM_ROOT, loss)
    return (churn + loss) / 2 / ACCURACY, (churn - loss) / 2 / (1 - ACCURACY)


@dataclass
class _State:
    """The present state of many lines."""

    right: Integers  # (lines, parts), images that the root answers right
    wrong: Integers
    live: Answers
    loss: Numbers  # (lines,), of the live version against the root
    verdicts: Integers  # by the images that judge now
    tries: Integers  # since the live version was promoted
    factor: Numbers  # by which the luck of the live version and its ancestors divides the level
    promotions: Integers

    @classmethod
    def start(cls, images: int, lines: int, parts: int, rng: np.random.Generator) -> "_State":
        right, wrong = _suite(images, lines, parts, rng)
        none = np.zeros(lines, dtype=np.int64)
        return cls(
            right=right,
            wrong=wrong,
            live=Answers(right, np.zeros_like(wrong)),
            loss=np.zeros(lines),
            verdicts=none.copy(),
            tries=none.copy(),
            factor=np.ones(lines),
            promotions=none.copy(),
        )


def _suite(
    images: int, lines: int, parts: int, rng: np.random.Generator
) -> tuple[Integers, Integers]:
    right: Integers = rng.binomial(images // parts, ACCURACY, (lines, parts))
    return right, images // parts - right


def simulate_inheritance(
    line: Line,
    budget: Budget,
    policy: GatePolicy,
    *,
    flips: float,
    images: int,
    lines: int,
    updates: int,
    rng: np.random.Generator,
) -> Lines:
    """Judge all updates of many lines; a version that passes is promoted, and has the children."""
    kept = kept_share(flips)
    now = _State.start(images, lines, budget.parts, rng)
    ever, wrong = np.zeros(lines, dtype=bool), []
    for update in range(updates):
        if budget.restarted_after and update % budget.restarted_after == 0:
            now.verdicts[:] = 0
        now.verdicts += 1
        now.tries += 1
        loss = np.minimum(now.loss + line.step, line.most)
        share = np.where(now.promotions > 0, kept, 0.0)  # the root's child has no luck to keep
        candidate, lost, won = _child(now, loss, share[:, None], rng)
        passed = _passes(now, candidate, lost, won, budget, policy)
        ever |= passed & (loss > policy.root_tolerance)
        wrong.append(ever.mean())
        _promote(now, candidate, loss, passed, counts_tries=budget.counts_tries)
        if budget.renewed_after:
            _renew(now, passed & (now.promotions % budget.renewed_after == 0), images, rng)
    return Lines(wrong=np.array(wrong), promotions=float(now.promotions.mean()))


def _child(
    now: _State, loss: Numbers, kept: Numbers, rng: np.random.Generator
) -> tuple[Answers, Integers, Integers]:
    """Return a candidate's right answers, and how many of the live version's it lost and won."""
    lost_before, won_before = _differing(now.loss)
    lost_then, won_then = _differing(loss)
    # A step that so few flips cannot take keeps fewer answers: none is won among those drawn anew.
    most = np.divide(won_then, won_before, out=np.ones_like(won_then), where=won_before > 0)
    kept = np.minimum(kept, most[:, None])
    fresh = 1 - kept
    lost = (lost_then[:, None] - kept * lost_before[:, None]) / fresh
    won = np.maximum(won_then[:, None] - kept * won_before[:, None], 0) / fresh
    still_kept = rng.binomial(now.live.kept, kept + fresh * (1 - lost))
    back = rng.binomial(now.right - now.live.kept, fresh * (1 - lost))
    still_won = rng.binomial(now.live.won, kept + fresh * won)
    new = rng.binomial(now.wrong - now.live.won, fresh * won)
    gone = now.live.kept - still_kept + now.live.won - still_won
    return Answers(still_kept + back, still_won + new), gone, back + new


def _passes(
    now: _State,
    candidate: Answers,
    lost: Integers,
    won: Integers,
    budget: Budget,
    policy: GatePolicy,
) -> Mask:
    """Return which candidates hold against the live version and against the root."""
    judging = np.arange(budget.parts) == (now.promotions % budget.parts)[:, None]

    def count(of: Integers) -> Integers:
        found: Integers = (of * judging).sum(axis=1)
        return found

    level = np.full(len(now.loss), policy.alpha)
    if budget.shared and policy.budget is not None:
        shares = np.array([policy.budget.share(int(v)) for v in range(1, now.verdicts.max() + 1)])
        level = np.minimum(level, shares[now.verdicts - 1] / now.factor)
    needed: Numbers = -ndtri(level)
    suite = count(now.right + now.wrong)
    root = tango_score(
        suite, count(candidate.won), count(now.right - candidate.kept), -policy.root_tolerance
    )
    parent = tango_score(suite, count(won), count(lost), -policy.parent_tolerance)
    holds: Mask = np.minimum(root, parent) >= needed
    return holds


def _promote(
    now: _State, candidate: Answers, loss: Numbers, passed: Mask, *, counts_tries: bool
) -> None:
    now.live = Answers(
        *(np.where(passed[:, None], new, old) for new, old in zip(candidate, now.live, strict=True))
    )
    now.loss = np.where(passed, loss, now.loss)
    if counts_tries:
        now.factor = np.where(passed, now.tries * now.factor**KEPT_LUCK, now.factor)
    now.tries[passed] = 0
    now.promotions += passed


def _renew(now: _State, due: Mask, images: int, rng: np.random.Generator) -> None:
    """Judge by new images, to which the live versions answer without luck."""
    lines, parts = now.right.shape
    right, wrong = _suite(images, lines, parts, rng)
    lost, won = _differing(now.loss)
    live = Answers(rng.binomial(right, 1 - lost[:, None]), rng.binomial(wrong, won[:, None]))
    due = due[:, None]
    now.right, now.wrong = np.where(due, right, now.right), np.where(due, wrong, now.wrong)
    now.live = Answers(*(np.where(due, new, old) for new, old in zip(live, now.live, strict=True)))
    now.verdicts[due[:, 0]] = 0


# The table of budgets.

EDGE = 0.0005  # beyond a tolerance

STEPS = (0.0005, 0.001, 0.0025, 0.006)

SIZES = (500, 1000, 2000, 4000)

FLIPS = (0.05, 0.02, 0.01)

SEEN = (100, 300)  # verdicts


def inheritance_table(
    policy: GatePolicy, *, lines: int, updates: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield a row for every budget, size and rate of flips between a version and its child.

    "wrong lines" creep to just beyond what is allowed against the root, by the step at which most
    of them do; "promoted" are of harmless lines, and of lines that lose 1 point in all.
    """
    for images in SIZES:
        for flips in FLIPS:
            for budget in BUDGETS:

                def run(
                    line: Line,
                    many: int,
                    budget: Budget = budget,
                    flips: float = flips,
                    images: int = images,
                ) -> Lines:
                    return simulate_inheritance(
                        line,
                        budget,
                        policy,
                        flips=flips,
                        images=images,
                        lines=many,
                        updates=updates,
                        rng=np.random.default_rng(seed),
                    )

                most = policy.root_tolerance + EDGE
                wrong = [run(Line(step=step, most=most), lines).wrong for step in STEPS]
                yield {
                    "budget": budget.name,
                    "images": images,
                    "flips %": 100 * flips,
                    **{
                        f"wrong lines %, {seen} verdicts": 100 * max(one[seen - 1] for one in wrong)
                        for seen in SEEN
                        if seen <= updates
                    },
                    "promoted, loses nothing": run(Line(step=0, most=0), lines // 5).promotions,
                    "promoted, loses 1": run(Line(step=0.01, most=0.01), lines // 5).promotions,
                }
