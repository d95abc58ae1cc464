"""Judge the measures of a report again under another policy."""

from collections.abc import Iterator
from dataclasses import replace

from core.domain.evaluation.report import Report
from core.domain.evaluation.results import ROOT, suite_tolerance
from core.domain.gate.intervals import Flips, paired_interval
from core.domain.gate.measure import Measure, MeasureKind, Outcome
from core.domain.gate.policy import GatePolicy, Judgement, Verdict, judge

_SUITES = {MeasureKind.ZERO_SHOT, MeasureKind.IMAGE_TO_TEXT, MeasureKind.TEXT_TO_IMAGE}


def judge_again(report: Report, policy: GatePolicy) -> Judgement:
    """Return the judgement on a report's measures, as if this policy had been the gate's.

    Bounds are computed anew from the counts. For a budget where the report's policy had none, the
    verdicts before it are the candidates that the same suites have judged. The design effect of
    captions is that of the report.
    """
    failing = any(ruling.outcome is Outcome.FAILS for ruling in report.rulings)
    faults = report.reasons if report.verdict is Verdict.FAILED and not failing else ()
    measures = [
        again
        for ruling in report.rulings
        if not ruling.measure.formerly_right
        for again in _again(ruling.measure, policy, report.judged_before + 1)
    ]
    return judge(measures, policy, faults)


def _again(measure: Measure, policy: GatePolicy, verdict: int) -> Iterator[Measure]:
    """Yield a measure under a policy, and that of its negative flips if the policy limits them."""
    spends = policy.budget is not None and measure.kind is not MeasureKind.GAIN
    verdicts = (measure.verdicts or verdict) if spends else None
    found = replace(
        measure,
        tolerance=_tolerance(measure, policy),
        verdicts=verdicts,
        level=policy.level(verdicts) if verdicts else None,
    )
    yield _bounded(found, policy.alpha)
    limited = measure.kind in _SUITES and measure.baseline != ROOT and measure.right_before
    if policy.negative_flips is not None and limited:
        flips = replace(
            found,
            tolerance=policy.negative_flips,
            count=found.right_before,
            right=found.right_before - found.lost,
            gained=0,
            difference=-found.lost / found.right_before,
            formerly_right=True,
        )
        yield _bounded(flips, policy.alpha)


def _tolerance(measure: Measure, policy: GatePolicy) -> float:
    if measure.kind is MeasureKind.GAIN:
        return -policy.wanted_gain
    if measure.kind not in _SUITES:
        return policy.holdout_tolerance
    return suite_tolerance(policy, measure.baseline)


def _bounded(measure: Measure, alpha: float) -> Measure:
    flips: Flips = measure.flips
    lower = paired_interval(flips, alpha if measure.level is None else measure.level).lower
    return replace(measure, lower=lower, upper=paired_interval(flips, alpha).upper)
