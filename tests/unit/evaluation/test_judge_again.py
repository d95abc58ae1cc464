"""A report is judged again under another policy as if it had been its own."""

from dataclasses import replace
from typing import Any

import pytest

from core.evaluation.judge import judge_again
from core.gate.measures import MeasureKind, Outcome
from core.gate.rules import Verdict
from tests.support.evaluation.evaluations import (
    by_turns,
    learned,
    policy,
    report_of,
    second_update,
)


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"line_error": 0.05},
        {"parent_tolerance": 0.3, "root_tolerance": 0.2, "wanted_gain": 0.1},
        {"negative_flips": 0.1, "alpha": 0.05},
        {"line_error": 0.05, "line_updates": 2, "minimum_count": 1},
    ],
)
def test_a_report_is_judged_as_the_gate_would_have_judged_it(limits: dict[str, Any]) -> None:
    report = replace(report_of(second_update(policy=policy()), by_turns), judged_before=0)
    wanted = policy(**limits)
    there = report_of(second_update(policy=wanted), by_turns)
    again = judge_again(report, wanted)
    assert again.verdict is there.verdict
    assert len(again.measures) == len(there.measures)
    for ours, theirs in zip(again.measures, there.measures, strict=True):
        # Captions of an image depend on each other, by how much is estimated for each measure.
        if theirs.kind is not MeasureKind.TEXT_TO_IMAGE:
            assert ours == theirs
    assert judge_again(there, policy()).verdict is report.verdict


def test_a_fault_stays_one_under_any_policy() -> None:
    report = report_of(second_update(), learned)
    broken = replace(report, verdict=Verdict.FAILED, reasons=("Its scores are not finite.",))
    assert not any(ruling.outcome is Outcome.FAILS for ruling in broken.measures)
    again = judge_again(broken, policy(parent_tolerance=1.0))
    assert again.verdict is Verdict.FAILED
    assert "Its scores are not finite." in again.reasons
