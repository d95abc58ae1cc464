"""Scenarios of one guarded measure: pairs, their tolerances, and the verdict that is wrong."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.calibration.outcomes import Outcomes
from benchmarks.calibration.verdicts import (
    FAILED,
    INCONCLUSIVE,
    PASSED,
    POLICY,
    Gate,
    Guard,
    verdicts,
)
from benchmarks.calibration.version_pairs import Pair, nulls, planted

SIZES = (100, 200, 500, 1000, 2000, 5000, 10_000)  # images of a suite
DRAWS = 2000
SPOT_CHECKS = 5  # draws of every case that the gate itself judges too
EDGE = 0.0005  # just beyond or just inside: 0.05 points
TOLERANCES = (0.03, 0.05, 0.06)  # the defaults, and the demo's
NEAR = 0.015  # a loss this near to a tolerance is moved to just beyond it


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A family of pairs, each with the tolerance that it is judged by."""

    name: str
    wrong: str  # the verdict that is an error
    cases: tuple[tuple[Pair, float], ...]  # pair and tolerance


def scenarios(versions: Mapping[str, Outcomes], questions: Sequence[str]) -> Iterator[Scenario]:
    """Yield all scenarios that have a pair."""
    null = [pair for question in questions for pair in nulls(versions, question)]
    loss = [pair for question in questions for pair in planted(versions, question)]
    found = [
        _family("null, 3 points allowed", FAILED, null, _always(0.03)),
        _family("null, just its difference allowed", FAILED, null, _part_of_loss(1)),
        _family("loss 0.05 points inside", FAILED, loss, lambda pair: pair.loss + EDGE),
        _family("loss 0.05 points beyond", PASSED, loss, lambda pair: pair.loss - EDGE),
    ]
    for tolerance in TOLERANCES:
        moved = [just_beyond(pair, tolerance) for pair in loss if is_near(pair, tolerance)]
        name = f"loss 0.05 points beyond {100 * tolerance:.0f}"
        found.append(_family(name, PASSED, moved, _always(tolerance)))
    for times in (1.25, 1.5, 2.0):
        name = f"loss {times:g} times the tolerance"
        found.append(_family(name, PASSED, loss, _part_of_loss(times)))
    yield from (scenario for scenario in found if scenario.cases)


def is_near(pair: Pair, tolerance: float) -> bool:
    """Return whether the loss is near enough to a tolerance to be moved just beyond it."""
    return abs(pair.loss - tolerance) <= NEAR


def just_beyond(pair: Pair, tolerance: float) -> Pair:
    """Return the pair with its images weighted to lose 0.05 points more than the tolerance."""
    return pair.reweighted(tolerance + EDGE)


_Tolerance = Callable[[Pair], float]


def _always(tolerance: float) -> _Tolerance:
    return lambda _: tolerance


def _part_of_loss(times: float) -> _Tolerance:
    return lambda pair: pair.loss / times


def _family(name: str, wrong: str, pairs: Sequence[Pair], tolerance: _Tolerance) -> Scenario:
    cases = tuple((pair, tolerance(pair)) for pair in pairs)
    return Scenario(name=name, wrong=wrong, cases=cases)


def rows_of(scenario: Scenario, gate: Gate, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Yield a row for each suite size: rates over all pairs' draws, and the worst pair."""
    for size in SIZES:
        rates = []
        for pair, tolerance in scenario.cases:
            drawn = pair.pool.draw(size, DRAWS, rng, POLICY.alpha)
            guards = [Guard(drawn=drawn[pair.question], tolerance=tolerance)]
            rates.append(shares(guards, gate, checked=SPOT_CHECKS))
        yield {"scenario": scenario.name, "images": size, **summary(rates, scenario.wrong)}


def summary(rates: Sequence[Mapping[str, float]], wrong: str) -> dict[str, Any]:
    """Return each verdict's mean percentage over pairs, and the worst pair's wrong verdicts."""
    row: dict[str, Any] = {"pairs": len(rates)}
    for verdict in (PASSED, FAILED, INCONCLUSIVE):
        row[f"{verdict} %"] = round(100 * float(np.mean([rate[verdict] for rate in rates])), 2)
    row["wrong"] = str(wrong)
    row["worst pair %"] = round(100 * max(rate[wrong] for rate in rates), 2)
    return row


def shares(guards: Sequence[Guard], gate: Gate, *, checked: int) -> dict[str, float]:
    """Return the shares of the three verdicts.

    The gate itself judges the first `checked` draws too. Raises Disagreement when its verdict
    differs.
    """
    found = verdicts(guards, gate.policy)
    for draw in range(min(checked, len(found))):
        if gate.verdict(guards, draw) != found[draw]:
            raise Disagreement(guards, draw)
    return {verdict: float((found == verdict).mean()) for verdict in (PASSED, FAILED, INCONCLUSIVE)}


class Disagreement(Exception):
    """The vectorised rule and the gate differ, so the study would not describe the gate."""
