"""A comparison of Tango's interval with others: exact error of each one-sided bound, and width."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration.rates import (
    DRAWS,
    EDGE,
    FAILED,
    FIRST,
    IN_USE,
    INTERVALS,
    PASSED,
    POLICY,
    SPOT_CHECKS,
    STATISTICS,
    Counts,
    Gate,
    Guard,
    bootstrap,
    counts,
    images_needed,
    score_asked,
    shares,
    summary,
    tango_score,
    verdict_rates,
    verdicts,
)
from benchmarks.calibration.rates import SIZES as POOLED_SIZES
from benchmarks.calibration.sample import (
    CAPTIONS,
    LEAST_LOSS,
    ROOT,
    Outcomes,
    Pair,
    Pool,
    SampledCounts,
    design_effects,
    nulls,
    planted,
)
from core.gate.intervals import ALPHA, Flips, quantile, score
from core.gate.rules import GatePolicy

SIZES = (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)

LOSSES = (0.0, 0.01, 0.03, 0.05, 0.06)  # true losses

CHURNS = (0.02, 0.05, 0.1, 0.2, 0.3)  # besides the smallest that causes the loss: no gains at all

RESAMPLED = (5, 20, 100, 500)  # sizes at which the bootstrap is measured too

TABLES = 200  # tables drawn for each rate of the bootstrap

Mask = NDArray[np.bool_]


def situations() -> list[tuple[float, float]]:
    """Return (loss, churn) for every true loss with every churn that can cause it."""
    return [
        (loss, churn)
        for loss in LOSSES
        for churn in sorted({loss, *CHURNS})
        if churn >= max(loss, 0.01)
    ]


def intervals_table(rng: np.random.Generator, alpha: float = ALPHA) -> Iterator[dict[str, Any]]:
    """Yield a row for each interval and size.

    Columns "too high" and "too low" are percentages, nominally 100 alpha: how often the lower
    bound lies above the truth, so that a loss at the tolerance would pass, and how often the
    upper bound lies below it, so that the loss would fail.
    """
    z = quantile(alpha)
    tables = {n: [(loss, _at(n, loss, churn)) for loss, churn in situations()] for n in SIZES}
    for name, interval in INTERVALS.items():
        for n in SIZES:
            high, low = [], []
            for loss, table in tables[n]:
                above, below = _misses(name, table, -loss, z)
                high.append(100 * float(table.weight[above].sum()))
                low.append(100 * float(table.weight[below].sum()))
            lower, upper = interval(n, n / 20, n / 20, z)
            yield _row(name, n, high, low) | {
                "no flips: from": round(100 * float(interval(n, 0, 0, z)[0]), 2),
                "width at 10 % churn": round(100 * float(upper - lower), 2),
            }
    for n in RESAMPLED:
        high, low = [], []
        for loss, table in tables[n]:
            chosen = rng.choice(len(table.weight), TABLES, p=table.weight / table.weight.sum())
            kinds, times = np.unique(chosen, return_counts=True)
            found = np.array(
                [bootstrap(n, int(table.gained[i]), int(table.lost[i]), alpha, rng) for i in kinds]
            )
            high.append(100 * float(times[found[:, 0] > -loss + 1e-12].sum()) / TABLES)
            low.append(100 * float(times[found[:, 1] < -loss - 1e-12].sum()) / TABLES)
        yield _row("bootstrap", n, high, low) | {
            "no flips: from": 0.0,
            "width at 10 % churn": "",
        }


def _at(n: int, loss: float, churn: float) -> Counts:
    return counts(n, (churn - loss) / 2, (churn + loss) / 2)


def _misses(name: str, table: Counts, truth: float, z: float) -> tuple[Mask, Mask]:
    """Return two masks over a table's cells: lower bound above the truth, upper bound below it.

    A score interval's lower bound lies above a difference exactly when the score there is more
    than z, so no interval needs to be computed.
    """
    if name in STATISTICS:
        score = STATISTICS[name](table.n, table.gained, table.lost, truth)
        return score > z, score < -z
    lower, upper = INTERVALS[name](table.n, table.gained, table.lost, z)
    return lower > truth + 1e-12, upper < truth - 1e-12


def _row(name: str, n: int, high: list[float], low: list[float]) -> dict[str, Any]:
    return {
        "interval": name,
        "images": n,
        "too high %": round(float(np.mean(high)), 2),
        "worst too high %": round(max(high), 2),
        "too low %": round(float(np.mean(low)), 2),
        "worst too low %": round(max(low), 2),
    }


def firm_table(tolerance: float = 0.03) -> Iterator[dict[str, Any]]:
    """Yield rows with the images that one measure needs for a firm verdict with 80 and 90 % power.

    Distances are between the true loss and the tolerance, in points; "holds" is for losses inside
    it, "fails" for losses beyond.
    """
    for churn in CHURNS:
        for distance in (0.01, 0.02, 0.03, 0.04, 0.05):
            row: dict[str, Any] = {"churn %": 100 * churn, "distance": round(100 * distance)}
            for side, sign in (("holds", 1), ("fails", -1)):
                for power in (0.8, 0.9):
                    found = images_needed(
                        power,
                        churn=churn,
                        difference=sign * distance - tolerance,
                        tolerance=tolerance,
                    )
                    row[f"{side} {power:.0%}"] = found or "-"
            yield row


def harmless_table() -> Iterator[dict[str, Any]]:
    """Yield rows with the percentage of updates without forgetting for which a measure holds."""
    for tolerance in (0.03, 0.05):
        for churn in (0.02, 0.05, 0.1, 0.2):
            row: dict[str, Any] = {"tolerance": 100 * tolerance, "churn %": 100 * churn}
            for n in (200, 300, 500, 750, 1000, 1500, 2000):
                holds, _ = verdict_rates(n, churn=churn, difference=0, tolerance=tolerance)
                row[f"{n}"] = round(100 * holds)
            yield row


def growth_table() -> Iterator[dict[str, Any]]:
    """Yield rows with the percentage of updates for which a measure holds, by its images.

    That is the pool of all holdouts, and one of several; 5 points are allowed, 15 % of answers
    flip.
    """
    for n in (10, 20, 50, 100, 175, 200, 250, 300, 349, 350, 351, 400, 500, 750, 1000, 2000):
        row: dict[str, Any] = {"images": n}
        for name, loss in (("loses 0", 0.0), ("loses 3", 0.03), ("at the limit", 0.05)):
            table = _at(n, loss, 0.15)
            scores = tango_score(n, table.gained, table.lost, -0.05)
            for kind, pooled in (("pool", False), ("one of several", True)):
                z = score_asked(n, IN_USE.minimum_count, pooled=pooled)
                row[f"{kind}, {name}"] = round(100 * float(table.weight[scores >= z].sum()), 2)
        yield row


def corners_table() -> Iterator[dict[str, Any]]:
    """Yield rows with the gate's worst exact errors in percent.

    The cases are a guarded measure with its true loss as tolerance, and the gain of an update
    that gained nothing, over all shares of flips.
    """
    nothing = [(0.0, churn) for churn in (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)]
    large = (*range(100, 1000, 37), 1000, 1500, 2000, 3000)
    for name, sizes, cases, level in (
        ("a loss at its tolerance", large, situations(), FIRST),
        ("a gain of nothing", range(5, 200, 3), nothing, POLICY.gain_error),
    ):
        for column, verdict in enumerate(("passes", "fails")):
            yield {"case": name, "wrongly": verdict} | max(
                (
                    {
                        "worst %": round(
                            100
                            * verdict_rates(
                                n,
                                churn=churn,
                                difference=-loss,
                                tolerance=loss,
                                level=level,
                            )[column],
                            2,
                        ),
                        "images": n,
                        "loss": 100 * loss,
                        "churn %": 100 * churn,
                    }
                    for n in sizes
                    for loss, churn in cases
                ),
                key=lambda row: row["worst %"],
            )


# Simulated lines: hundreds of updates, each judged by the same suite against parent and root.
#
# The true losses are chosen, so each promotion is known to be right or wrong. Only the suite is
# simulated, and every gain holds. A suite's images are a random draw, and so are the answers that
# flip, so a version's counts on the suite are trinomial with the true rates.


Integers = NDArray[np.int64]

Numbers = NDArray[np.float64]

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


# Several guarded measures of one candidate at once, and captions that share an image.


WIDE = 1.0  # a tolerance that no loss exceeds


def multiple_measures(
    versions: Mapping[str, Outcomes], groups: Sequence[Sequence[str]], rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Yield rows for all questions guarded together; those of a group are about the same images.

    With every measure exactly at its tolerance, the rows have the rate at which any fails, which
    Holm's correction bounds; with one measure 0.05 points beyond its tolerance and the others far
    within, the rate at which the update passes.
    """
    gate = Gate()
    pools = {name: _pools(versions, name, groups) for name in _losing_all(versions, groups)}
    for size in POOLED_SIZES if pools else ():
        at, beyond = [], []
        for candidate in pools.values():
            drawn: dict[str, SampledCounts] = {}
            for pool in candidate:
                drawn |= pool.draw(size, DRAWS, rng, FIRST)
            loss = {q: pool.loss(q) for pool in candidate for q in pool.questions}
            edge = [Guard(drawn=drawn[q], tolerance=loss[q]) for q in drawn]
            at.append(shares(edge, gate, checked=SPOT_CHECKS))
            for bad in drawn:
                allowed = dict.fromkeys(drawn, WIDE) | {bad: loss[bad] - EDGE}
                guards = [Guard(drawn=drawn[q], tolerance=allowed[q]) for q in drawn]
                beyond.append(shares(guards, gate, checked=SPOT_CHECKS))
        number = sum(map(len, groups))
        for name, rates, wrong in (
            (f"{number} measures, each at its tolerance", at, FAILED),
            (f"{number} measures, one 0.05 points beyond", beyond, PASSED),
        ):
            yield {"scenario": name, "images": size, **summary(rates, wrong)}


def _losing_all(versions: Mapping[str, Outcomes], groups: Sequence[Sequence[str]]) -> list[str]:
    """Return the versions that are worse than the untouched one on every question."""
    questions = [question for group in groups for question in group]
    root = versions[ROOT]
    return [
        name
        for name, found in versions.items()
        if all(root.accuracy(q) - found.accuracy(q) >= LEAST_LOSS for q in questions)
    ]


def _pools(
    versions: Mapping[str, Outcomes], name: str, groups: Sequence[Sequence[str]]
) -> list[Pool]:
    return [Pool.of(versions[ROOT], versions[name], group) for group in groups]


def captions(
    versions: Mapping[str, Outcomes], rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Yield rows for text to image, drawn by image, with and without the design effect.

    Each pair's tolerance is its own true loss, so either firm verdict is an error.
    """
    pairs = [*nulls(versions, CAPTIONS), *planted(versions, CAPTIONS)]
    for size in POOLED_SIZES:
        effects = []
        rates: dict[str, list[dict[str, float]]] = {"with": [], "without": []}
        for pair in pairs:
            drawn = pair.pool.draw(size, DRAWS, rng, FIRST)[CAPTIONS]
            plain = replace(drawn, design_effect=np.ones(DRAWS))
            effects.append(float(np.median(drawn.design_effect)))
            for name, given in (("with", drawn), ("without", plain)):
                found = verdicts([Guard(drawn=given, tolerance=pair.loss)])
                rates[name].append({v: float((found == v).mean()) for v in (PASSED, FAILED)})
        row: dict[str, Any] = {"images": size, "pairs": len(pairs)}
        row["design effect"] = f"{min(effects):.2f}-{max(effects):.2f}"
        for name, found_rates in rates.items():
            for verdict in (PASSED, FAILED):
                shares_of = [100 * rate[verdict] for rate in found_rates]
                row[f"{verdict} % {name}"] = round(float(np.mean(shares_of)), 2)
                row[f"worst {verdict} % {name}"] = round(max(shares_of), 2)
        yield row


def near_duplicates(rng: np.random.Generator, of: int = 1000) -> Iterator[dict[str, Any]]:
    """Yield how often a loss 0.05 points beyond 3 passes if images have copies that flip with them.

    A suite has `of` images in groups of one to five, and 10 % of its answers flip.
    """
    loss, churn, draws = 0.03 + EDGE, 0.1, 20 * DRAWS
    shares_of = [(churn - loss) / 2, (churn + loss) / 2, 1 - churn]
    for size in (1, 2, 3, 5):
        gained, lost, _ = rng.multinomial(of // size, shares_of, size=draws).T
        one = _of_copies(of // size, gained, lost)
        all_of_them = _of_copies(of // size * size, size * gained, size * lost)
        row: dict[str, Any] = {"images": of, "copies": size}
        for name, given in (("as one", one), ("as independent", all_of_them)):
            row[f"passed %, {name}"] = _passed(given)
        yield row


def pairs_of_copies(rng: np.random.Generator, groups: int = 1000) -> Iterator[dict[str, Any]]:
    """Yield how often a harmless version passes on a suite in which each image has one copy.

    By one answer of each two, and by both with a design effect. 10 % of answers flip; a share of
    the images flips with the copy, the others by themselves.
    """
    churn = 0.1
    kinds = np.array([1, -1, 0])
    alone = np.array([churn / 2, churn / 2, 1 - churn])
    first, second = (kinds[axis].ravel() for axis in np.indices((3, 3)))
    for together in (1.0, 0.8, 0.6, 0.4, 0.2):
        joint = together * np.diag(alone) + (1 - together) * np.outer(alone, alone)
        drawn = rng.multinomial(groups, joint.ravel(), size=5 * DRAWS)
        net = first + second
        gained = drawn @ ((first > 0).astype(int) + (second > 0))
        lost = drawn @ ((first < 0).astype(int) + (second < 0))
        count = np.full(len(drawn), 2 * groups)
        sums = [count, gained, lost, drawn @ net**2, 2 * (drawn @ net), 2 * count]
        effect = design_effects(np.stack(sums, axis=1), FIRST)
        both = replace(_of_copies(2 * groups, gained, lost, groups), design_effect=effect)
        one = _of_copies(groups, drawn @ (first > 0), drawn @ (first < 0))
        yield {
            "different images": groups,
            "flip with the copy %": round(100 * together),
            "design effect": round(float(np.median(effect)), 2),
            "passed %, one answer": _passed(one),
            "passed %, both": _passed(both),
        }


def _of_copies(
    count: int, gained: NDArray[Any], lost: NDArray[Any], images: int | None = None
) -> SampledCounts:
    return SampledCounts(
        question="copies",
        images=images or count,
        count=np.full(len(gained), count),
        gained=gained,
        lost=lost,
        design_effect=np.ones(len(gained)),
    )


def _passed(drawn: SampledCounts) -> float:
    passed = verdicts([Guard(drawn=drawn, tolerance=0.03)]) == PASSED
    return round(100 * float(passed.mean()), 2)


# Measures below the policy's minimum of images: less is asked of them.
#
# The policy is the service's, with its minimum. A line's holdouts are disjoint, so they are drawn
# separately, and the sum of their counts is the measure of all together.


SUITES = (100, 200, 300, 349)  # images

HOLDOUTS = ((4, 20), (4, 60), (8, 80), (8, 200), (20, 40), (20, 349))  # number, images of each

LOSSES_TO_FAIL = (0.06, 0.10, 0.20)  # true losses, where the tolerance is 3 or 5 points

NEAR = 0.05  # a loss this near to one of LOSSES is moved to it


def small_samples(
    versions: Mapping[str, Outcomes], questions: Sequence[str], rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Yield rows of verdicts at or just beyond the tolerance, then on clear losses."""
    gate = Gate(policy=IN_USE)
    single = [question for question in questions if question != CAPTIONS]
    lost = [pair for question in single for pair in planted(versions, question)]
    pairs = [pair for question in single for pair in nulls(versions, question)] + lost
    for images in SUITES:
        at = [_suite(pair, images, pair.loss, rng) for pair in pairs if pair.loss]
        yield _row_of_verdicts("suite at its tolerance", f"{images}", at, FAILED, gate)
    for count, images in HOLDOUTS:
        size = f"{count} x {images}"
        at = [_line(pair, count, images, pair.loss, rng) for pair in pairs if pair.loss]
        yield _row_of_verdicts(
            "holdouts at their tolerance", size, [[_held(), *one] for one in at], FAILED, gate
        )
        if count * images >= IN_USE.minimum_count:
            beyond = [_line(pair, count, images, pair.loss - EDGE, rng) for pair in lost]
            yield _row_of_verdicts("holdouts 0.05 points beyond", size, beyond, PASSED, gate)
    for loss in LOSSES_TO_FAIL:
        moved = [pair.reweighted(loss) for pair in lost if abs(pair.loss - loss) <= NEAR]
        for images in SUITES if moved else ():
            sure = [_suite(pair, images, 0.03, rng) for pair in moved]
            yield _row_of_verdicts(
                f"suite that loses {100 * loss:.0f}, 3 allowed", f"{images}", sure, PASSED, gate
            )
        for count, images in HOLDOUTS if moved else ():
            sure = [[_held(), *_line(pair, count, images, 0.05, rng)] for pair in moved]
            name = f"holdouts that lose {100 * loss:.0f}, 5 allowed"
            yield _row_of_verdicts(name, f"{count} x {images}", sure, PASSED, gate)


def _held() -> Guard:
    """Return a large suite on which nothing is lost, without which no update passes."""
    answers = (np.full(DRAWS, number) for number in (5000, 100, 100))
    count, gained, lost = answers
    drawn = SampledCounts(
        question="large suite",
        images=5000,
        count=count,
        gained=gained,
        lost=lost,
        design_effect=np.ones(DRAWS),
    )
    return Guard(drawn=drawn, tolerance=0.03)


def _suite(pair: Pair, images: int, tolerance: float, rng: np.random.Generator) -> list[Guard]:
    drawn = pair.pool.draw(images, DRAWS, rng, FIRST)[pair.question]
    return [_held(), Guard(drawn=drawn, tolerance=tolerance)]


def _line(
    pair: Pair, count: int, images: int, tolerance: float, rng: np.random.Generator
) -> list[Guard]:
    """Draw `count` holdouts, and add the measure of all of them together."""
    drawn = [pair.pool.draw(images, DRAWS, rng, FIRST)[pair.question] for _ in range(count)]
    together = replace(
        drawn[0],
        images=count * images,
        count=np.sum([one.count for one in drawn], axis=0),
        gained=np.sum([one.gained for one in drawn], axis=0),
        lost=np.sum([one.lost for one in drawn], axis=0),
    )
    several = [Guard(drawn=one, tolerance=tolerance, pooled=True) for one in drawn]
    return [*several, Guard(drawn=together, tolerance=tolerance)]


def _row_of_verdicts(
    name: str, images: str, cases: Sequence[Sequence[Guard]], wrong: str, gate: Gate
) -> dict[str, Any]:
    rates = [shares(guards, gate, checked=SPOT_CHECKS) for guards in cases]
    return {"scenario": name, "images": images, **summary(rates, wrong)}
