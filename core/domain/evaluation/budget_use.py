"""The use of a line's error budget, by suite and holdout."""

from collections.abc import Iterator, Sequence

from core.domain.evaluation.report_sections import BudgetUse
from core.domain.gate.measure import Measure
from core.domain.gate.policy import GatePolicy


def budget_use(measures: Sequence[Measure], policy: GatePolicy) -> Iterator[BudgetUse]:
    """Yield a row for the test images of each guarding suite or holdout, in their order.

    Images below the policy's minimum are left out: a pass does not depend on them.
    """
    for name in dict.fromkeys(m.name for m in measures if m.images >= policy.minimum_count):
        found = [m for m in measures if m.name == name]
        verdicts, level = found[0].verdicts, found[0].level
        if policy.budget is None or verdicts is None or level is None:
            continue
        spent = policy.budget.spent(verdicts)
        yield BudgetUse(
            name=name,
            verdicts=verdicts,
            level=level,
            spent=spent,
            left=policy.budget.total - spent,
            worn_out=any(m.is_worn_out(policy.alpha) for m in found),
        )
