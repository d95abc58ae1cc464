"""Judge a report's measures again under another policy."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

from core.evaluation.measures import limits_flips
from core.evaluation.report import Report
from core.gate.changes import Changes
from core.gate.judge import Judgement, judge
from core.gate.kinds import MeasureKind, Outcome
from core.gate.levels import Spending
from core.gate.measures import Measure
from core.gate.rules import GatePolicy, Verdict

_Part = TypeVar("_Part", bound=Changes)


def judge_again(report: Report, policy: GatePolicy) -> Judgement:
    """Return the judgement on a report's measures, as if this policy had been the gate's.

    Bounds are computed anew from the counts. For a budget where the report's policy had none, the
    verdicts before it are the candidates that the same suites have judged. The design effect of
    captions is that of the report. Formerly right answers are taken to be of as large a share of
    the images. Of single classes, those count that the report names, and classes that lose are
    those that the report's policy counted.
    """
    failing = report.lost_classes or any(
        ruling.outcome is Outcome.FAILS for ruling in report.measures
    )
    faults = report.reasons if report.verdict is Verdict.FAILED and not failing else ()
    measures = [
        again
        for ruling in report.measures
        if not ruling.formerly_right
        for again in _again(ruling, policy, report.judged_before + 1)
    ]
    return judge(
        measures,
        policy,
        faults,
        report.lost_classes,
        to_label=report.to_label,
        converted=report.converted,
    )


def _again(measure: Measure, policy: GatePolicy, verdict: int) -> Iterator[Measure]:
    """Yield a measure under a policy, and that of its negative flips if the policy limits them."""
    number = measure.verdicts or verdict
    spending = Spending(verdict=number, luck=measure.luck, look=measure.look)
    spends = measure.kind is not MeasureKind.GAIN
    shared = measure.disagreements.level_share if measure.disagreements else 1.0
    found = replace(
        measure,
        tolerance=policy.tolerance(measure),
        verdicts=number if spends and policy.budget else None,
        level=policy.level_of(spending) * shared if spends else policy.gain_error,
        soft=measure.soft if policy.judged_views else None,
        editions=tuple(
            replace(one, earlier=_by_views(one.earlier, policy), added=_by_views(one.added, policy))
            for one in measure.editions
        ),
        untaught=measure.untaught and _by_views(measure.untaught, policy),
        ungained=measure.ungained and _by_views(measure.ungained, policy),
    )
    yield found.bounded(policy.alpha, policy.minimum_count)
    all_known = measure.disagreements is None and measure.right_before
    if policy.negative_flips is not None and limits_flips(measure) and all_known:
        flips = replace(
            found,
            tolerance=policy.negative_flips,
            count=found.right_before,
            distinct=max(1, found.distinct * found.right_before // found.count),
            right=found.right_before - found.lost,
            gained=0,
            difference=-found.lost / found.right_before,
            formerly_right=True,
            soft=None,
            editions=(),
            untaught=None,
            ungained=None,
            every_image=None,
            class_mean=None,
            losing=None,
        )
        yield flips.bounded(policy.alpha, policy.minimum_count)


def _by_views(part: _Part, policy: GatePolicy) -> _Part:
    return part if policy.judged_views else replace(part, soft=None)
