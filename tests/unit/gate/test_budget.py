"""The error that the verdicts of a line share."""

import pytest

from core.gate.rules import ErrorBudget


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
