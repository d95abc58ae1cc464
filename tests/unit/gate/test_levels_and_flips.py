"""Levels of error from a line's budget, and limits on negative flips."""

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.gate_looks import worst_error
from core.gate.intervals import paired_interval, proportion_interval
from core.gate.judge import judge
from core.gate.kinds import MeasureKind, Outcome
from core.gate.levels import ErrorBudget, Spending, inherited_luck
from core.gate.measures import Measure
from core.gate.rules import Verdict
from tests.support.evaluation.measures import gain, measure, outcomes
from tests.support.factories import a_policy


def test_without_a_budget_each_verdict_is_judged_at_the_policys_own_error() -> None:
    assert a_policy().budget is None
    assert a_policy().level(1) is a_policy().level(300) is None


@pytest.mark.parametrize(
    ("alpha", "verdict", "level"),
    [
        (0.005, 1, 0.05 / 101),
        (0.005, 100, 5 / 39_800),
        (0.0002, 1, 0.0002),
        (0.0002, 100, 5 / 39_800),
    ],
)
def test_a_level_is_the_share_of_the_budget_but_no_more_than_the_policys_error(
    alpha: float, verdict: int, level: float
) -> None:
    assert a_policy(alpha=alpha, line_error=0.05).level(verdict) == pytest.approx(level)


def test_luck_divides_the_level_and_however_much_there_is_the_gate_can_judge() -> None:
    chosen = a_policy(line_error=0.05)
    assert chosen.level(1, 4.0) == pytest.approx(0.05 / 101 / 4)
    assert a_policy().level(1, 4.0) is None
    level = chosen.level(300, inherited_luck([300] * 40))  # 1 minus this is 1
    assert level is not None
    assert 0 < level < 1e-30
    assert outcomes(judge([at_level(10_000, 0, 100, level), gain()], chosen))[0] is Outcome.OPEN


def at_level(count: int, gained: int, lost: int, level: float, **changes: Any) -> Measure:
    made = measure(count=count, gained=gained, lost=lost)
    lower = paired_interval(made.flips, level).lower
    return replace(made, level=level, lower=lower, verdicts=7, **changes)


def test_what_holds_at_the_policys_error_is_open_at_a_stricter_level() -> None:
    chosen = a_policy(minimum_count=1, line_error=0.05)
    assert outcomes(judge([measure(count=300)], chosen)) == [Outcome.HOLDS]
    judgement = judge([at_level(300, 0, 0, 0.05 / 101), gain()], chosen)
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.measures[0].more_images == 233  # 533 unchanged images hold at the next look
    assert judgement.reasons[-1].startswith("The test images of emoji are worn out")


def test_images_of_which_less_is_asked_wear_out_later() -> None:
    judgement = judge([at_level(300, 0, 0, 0.05 / 101), gain()], a_policy(line_error=0.05))
    assert not any("worn out" in reason for reason in judgement.reasons)


def test_a_level_leaves_failing_as_it_is() -> None:
    barely = at_level(1000, 20, 77, 1e-9)
    assert judge([barely, gain()], a_policy()).verdict is Verdict.FAILED


def flips(lost: int, count: int, limit: float) -> Measure:
    """A measure on 2000 images of which so many were right and so many of these are wrong now."""
    return Measure.of(
        MeasureKind.ZERO_SHOT,
        name="emoji",
        baseline="parent",
        baseline_version=1,
        tolerance=limit,
        images=2000,
        now=[False] * lost + [True] * (count - lost),
        before=[True] * count,
        alpha=0.005,
        formerly_right=True,
    )


def test_negative_flips_block_fail_and_pass_though_the_net_loss_is_zero() -> None:
    net = measure(gained=60, lost=60)
    assert net.difference == 0
    upper = proportion_interval(60, 1000, 0.005).upper
    judged = {
        limit: judge([net, flips(60, 1000, limit), gain()], a_policy()).verdict
        for limit in (0.03, upper - 1e-6, upper + 1e-6)
    }
    assert list(judged.values()) == [Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PASSED]


def test_negative_flips_fail_where_their_lower_bound_is_above_the_limit() -> None:
    lower = proportion_interval(60, 1000, 0.005).lower
    (failing,) = judge([flips(60, 1000, lower - 0.002)], a_policy()).measures
    (open_,) = judge([flips(60, 1000, lower + 0.002)], a_policy()).measures
    assert (failing.outcome, open_.outcome) == (Outcome.FAILS, Outcome.OPEN)


# ---- The error that the verdicts of a line share -------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "share"),
    [(1, 5 / 10_100), (2, 5 / 10_302), (50, 5 / 22_350), (100, 5 / 39_800), (300, 5 / 159_600)],
)
def test_a_verdict_spends_less_than_the_one_before(verdict: int, share: float) -> None:
    assert ErrorBudget(total=0.05, half=100).share(verdict) == pytest.approx(share, rel=1e-12)


@pytest.mark.parametrize("half", [1, 7, 100])
def test_what_is_spent_is_the_sum_of_the_shares_half_by_so_many_and_never_all(half: int) -> None:
    budget, sum_of_shares = ErrorBudget(total=0.05, half=half), 0.0
    assert (budget.spent(0), budget.spent(half)) == (0, 0.025)
    for verdict in range(1, 1001):
        sum_of_shares += budget.share(verdict)
        assert budget.spent(verdict) == pytest.approx(sum_of_shares, rel=1e-9)
    assert budget.spent(10**9) < 0.05


# ---- Looks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.005, 0.05])
def test_all_looks_together_err_at_most_at_the_level_of_one_verdict(alpha: float) -> None:
    """Whatever the sizes, also if each is chosen in the worst way by what was seen before."""
    levels = [a_policy(alpha=alpha).level_of(Spending(look=n)) for n in range(1, 6)]
    assert sorted(levels, reverse=True) == levels
    assert levels[0] == pytest.approx(0.8 * alpha)
    assert sum(levels) < worst_error(levels, step=0.05) <= alpha
    assert worst_error([alpha, alpha]) > 2 * alpha
    assert a_policy(alpha=alpha).level_of(Spending(look=6)) == 0


def test_a_look_has_its_share_of_what_the_line_leaves() -> None:
    chosen = a_policy(line_error=0.05)
    found = chosen.level_of(Spending(verdict=100, luck=2.0, look=2))
    assert found == pytest.approx(0.04 * 5 / 39_800 / 2)


def test_after_the_last_look_no_answers_hold() -> None:
    unchanged = at_level(100_000, 0, 0, 0.0, look=6)
    assert not unchanged.holds
    found = judge([unchanged, gain()], a_policy())
    assert outcomes(found)[0] is Outcome.OPEN
    assert any("let it pass no more" in reason for reason in found.reasons)
