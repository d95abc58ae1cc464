"""Measures below the policy's minimum of images: they can fail an update but not pass it.

The policy is the service's, with its minimum. A line's holdouts are disjoint, so they are drawn
separately, and the sum of their counts is the measure of all together.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.calibration.outcomes import CAPTIONS, Outcomes
from benchmarks.calibration.sampling import SampledCounts
from benchmarks.calibration.scenarios import DRAWS, EDGE, SPOT_CHECKS, shares, summary
from benchmarks.calibration.verdicts import FAILED, PASSED, POLICY, Gate, Guard
from benchmarks.calibration.version_pairs import Pair, nulls, planted

IN_USE = replace(POLICY, minimum_count=500)
SUITES = (100, 300, 499)  # images
HOLDOUTS = ((4, 20), (4, 60), (8, 80), (8, 300), (20, 40), (20, 499))  # number, images of each
LOSSES = (0.06, 0.10, 0.20)  # true losses, where the tolerance is 3 or 5 points
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
        yield _row("suite at its tolerance", f"{images}", at, FAILED, gate)
    for count, images in HOLDOUTS:
        size = f"{count} x {images}"
        at = [_line(pair, count, images, pair.loss, rng) for pair in pairs if pair.loss]
        yield _row(
            "holdouts at their tolerance", size, [[_held(), *one] for one in at], FAILED, gate
        )
        if count * images >= IN_USE.minimum_count:
            beyond = [_line(pair, count, images, pair.loss - EDGE, rng) for pair in lost]
            yield _row("holdouts 0.05 points beyond", size, beyond, PASSED, gate)
    for loss in LOSSES:
        moved = [pair.reweighted(loss) for pair in lost if abs(pair.loss - loss) <= NEAR]
        for images in SUITES if moved else ():
            sure = [_suite(pair, images, 0.03, rng) for pair in moved]
            yield _row(
                f"suite that loses {100 * loss:.0f}, 3 allowed", f"{images}", sure, PASSED, gate
            )
        for count, images in HOLDOUTS if moved else ():
            sure = [[_held(), *_line(pair, count, images, 0.05, rng)] for pair in moved]
            name = f"holdouts that lose {100 * loss:.0f}, 5 allowed"
            yield _row(name, f"{count} x {images}", sure, PASSED, gate)


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
    drawn = pair.pool.draw(images, DRAWS, rng, IN_USE.alpha)[pair.question]
    return [_held(), Guard(drawn=drawn, tolerance=tolerance)]


def _line(
    pair: Pair, count: int, images: int, tolerance: float, rng: np.random.Generator
) -> list[Guard]:
    """Draw `count` holdouts, and add the measure of all of them together."""
    drawn = [pair.pool.draw(images, DRAWS, rng, IN_USE.alpha)[pair.question] for _ in range(count)]
    together = replace(
        drawn[0],
        images=count * images,
        count=np.sum([one.count for one in drawn], axis=0),
        gained=np.sum([one.gained for one in drawn], axis=0),
        lost=np.sum([one.lost for one in drawn], axis=0),
    )
    return [Guard(drawn=one, tolerance=tolerance) for one in (*drawn, together)]


def _row(
    name: str, images: str, cases: Sequence[Sequence[Guard]], wrong: str, gate: Gate
) -> dict[str, Any]:
    rates = [shares(guards, gate, checked=SPOT_CHECKS) for guards in cases]
    return {"scenario": name, "images": images, **summary(rates, wrong)}
