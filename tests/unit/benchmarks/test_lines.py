"""The simulation of lines: judged as the gate judges, with known true losses."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks import gate_lines
from benchmarks.calibration.intervals import Course, Scenario, holds, simulate
from benchmarks.calibration.rates import POLICY
from core.gate.measures import Measure, MeasureKind
from core.gate.rules import GatePolicy

STILL = gate_lines.always(0.0)


def course(scenario: Scenario, policy: GatePolicy = POLICY, **changes: int) -> Course:
    sizes = {"images": 1000, "lines": 300, "updates": 60} | changes
    return simulate(scenario, policy, rng=np.random.default_rng(1), **sizes)


def edge(**changes: Any) -> Scenario:
    """Candidates trained from the root, each just beyond the tolerance."""
    beyond = gate_lines.always(POLICY.parent_tolerance + 0.0005)
    return replace(Scenario(name="edge", from_root=beyond, from_parent=None), **changes)


@pytest.mark.parametrize("level", [0.005, 0.0005, 3e-5])
def test_counts_hold_where_the_gates_own_measure_holds(level: float) -> None:
    rng = np.random.default_rng(2)
    gained, lost = rng.integers(0, 20, 200), rng.integers(0, 30, 200)
    counts = np.stack([gained, lost, 500 - gained - lost], axis=1)
    own = [
        Measure.of(
            MeasureKind.ZERO_SHOT,
            name="suite",
            baseline="parent",
            baseline_version=1,
            tolerance=0.03,
            images=500,
            now=[True] * g + [False] * w + [True] * s,
            before=[False] * g + [True] * w + [True] * s,
            alpha=0.005,
            level=level,
        ).holds
        for g, w, s in counts.tolist()
    ]
    assert holds(counts, 0.03, level).tolist() == own
    assert 0 < sum(own) < len(own)


def test_updates_that_lose_nothing_pass_and_are_not_wrong() -> None:
    found = course(Scenario(name="", from_root=STILL, from_parent=STILL), images=5000)
    assert found.passed.mean() > 0.99
    assert not found.wrong.any()


def test_updates_that_lose_much_never_pass() -> None:
    much = gate_lines.always(0.15)
    for from_root, from_parent in ((much, STILL), (STILL, much), (much, None)):
        found = course(Scenario(name="", from_root=from_root, from_parent=from_parent))
        assert not found.passed.any()


def test_what_passes_beyond_a_tolerance_is_wrong() -> None:
    lax = replace(POLICY, alpha=0.2)
    found = course(edge(), lax)
    assert found.wrong.any()
    assert (found.wrong == found.passed).all()


def test_a_budget_bounds_the_lines_that_go_wrong() -> None:
    lax = replace(POLICY, alpha=0.05)
    without, budgeted = (
        course(edge(), policy).wrong.any(axis=0).mean()
        for policy in (lax, replace(lax, line_error=0.05))
    )
    assert without > 0.7
    assert budgeted <= 0.05


def test_a_line_without_anything_redrawn_gets_the_same_verdict_each_time() -> None:
    found = course(edge(redrawn=0.0), replace(POLICY, alpha=0.2))
    assert found.passed[0].any()
    assert (found.passed == found.passed[0]).all()


def test_selecting_by_the_suite_that_judges_makes_most_lines_wrong() -> None:
    chosen = course(edge(redrawn=0.1, climbs=True)).wrong.any(axis=0).mean()
    unchosen = course(edge(redrawn=0.1)).wrong.any(axis=0).mean()
    assert unchosen < 0.2 < 0.5 < chosen


def test_a_creeping_line_loses_a_step_with_each_promotion_up_to_the_edge() -> None:
    losses = gate_lines.creeping(np.array([0, 1, 19, 20, 300]))
    assert losses == pytest.approx([0.0025, 0.005, 0.05, 0.0505, 0.0505])


def test_the_table_has_a_row_for_each_scenario_size_and_policy() -> None:
    rows = list(gate_lines.rows(lines=5, updates=10))
    assert len(rows) == 4 * len(gate_lines.SCENARIOS)
    assert {"1. passed %", "10. passed %"} <= rows[0].keys()
    assert "50. passed %" not in rows[0]


def test_a_later_verdict_takes_more_images() -> None:
    needed = [row["flips 5%, 80%"] for row in gate_lines.prices()]
    assert needed == sorted(needed)
    assert needed[0] == 755  # as without a budget in the study's other table
