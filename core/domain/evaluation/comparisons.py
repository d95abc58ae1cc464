"""The measures of an evaluation: every paired comparison that the gate judges."""

from collections.abc import Iterator, Sequence

from core.domain.evaluation.paired_hits import PairedHits, pooled, recall_at_1
from core.domain.evaluation.plan import ClassEvaluation, HoldoutEvaluation, RetrievalEvaluation
from core.domain.evaluation.query import EvalQuery
from core.domain.evaluation.results import LIVE, ROOT, Baseline, EvaluationResults
from core.domain.gate.measure import Measure, MeasureKind


def measures(results: EvaluationResults) -> list[Measure]:
    """Return all measures of an evaluation.

    These compare suites with parent, root and live version, earlier holdouts with the versions that
    learned them, and the own holdout with the parent (the gain).
    """
    plan = results.plan
    found: list[Measure] = []
    for baseline in results.suite_baselines:
        for suite in plan.zero_shot:
            hits = _top_1(results, suite, baseline)
            found += _on_suite(results, MeasureKind.ZERO_SHOT, suite, baseline, hits)
    for baseline in results.suite_baselines:
        for captioned in plan.retrieval:
            for kind, hits in _recall_at_1(results, captioned, baseline):
                found += _on_suite(results, kind, captioned, baseline, hits)
    for pairs in (results.kept, results.replaced):
        found += [_on_holdout(results, MeasureKind.HOLDOUT, h.exam, by) for h, by in pairs]
        if len(pairs) > 1:
            found.append(_combined(results, pairs))
    if plan.own is not None:
        gain = results.gain_baseline
        found.append(_on_holdout(results, MeasureKind.GAIN, plan.own.exam, gain))
    return found


def _top_1(
    results: EvaluationResults, evaluation: ClassEvaluation, baseline: Baseline
) -> PairedHits:
    return PairedHits(
        now=results.hits(results.plan.candidate, evaluation.own),
        before=results.hits(baseline.version, evaluation.own),
    )


def _recall_at_1(
    results: EvaluationResults, evaluation: RetrievalEvaluation, baseline: Baseline
) -> Iterator[tuple[MeasureKind, PairedHits]]:
    now = results.ranks(results.plan.candidate, evaluation.own)
    before = results.ranks(baseline.version, evaluation.own)
    return recall_at_1(evaluation.own, now=now, before=before)


def _on_suite(
    results: EvaluationResults,
    kind: MeasureKind,
    suite: ClassEvaluation | RetrievalEvaluation,
    baseline: Baseline,
    hits: PairedHits,
) -> Iterator[Measure]:
    """Yield the measure of all answers and, if the policy limits flips, of formerly right ones.

    Flips are not limited against the root: the limit is for one update, and people notice what
    differs from the version that they had before it.
    """
    limit = results.plan.policy.negative_flips
    measured = [(hits, baseline.tolerance, False)]
    if limit is not None and baseline.name != ROOT and any(hits.before):
        measured.append((hits.formerly_right, limit, True))
    verdicts, level = _spending(results, [suite.own])
    alpha = results.plan.policy.alpha
    for compared, tolerance, formerly_right in measured:
        yield Measure.of(
            kind,
            name=suite.name,
            baseline=baseline.name,
            baseline_version=baseline.version.number,
            tolerance=tolerance,
            images=len(suite.own.entries),
            now=compared.now,
            before=compared.before,
            design_effect=compared.design_effect(level or alpha),
            alpha=alpha,
            formerly_right=formerly_right,
            verdicts=verdicts,
            level=level,
        )


def _on_holdout(
    results: EvaluationResults, kind: MeasureKind, evaluation: ClassEvaluation, baseline: Baseline
) -> Measure:
    """Return the measure of a holdout; a gain does not spend, as the budget is for forgetting."""
    hits = _top_1(results, evaluation, baseline)
    spending = [] if kind is MeasureKind.GAIN else [evaluation.own]
    verdicts, level = _spending(results, spending)
    return Measure.of(
        kind,
        name=evaluation.name,
        baseline=baseline.name,
        baseline_version=baseline.version.number,
        tolerance=baseline.tolerance,
        images=len(evaluation.own.entries),
        now=hits.now,
        before=hits.before,
        alpha=results.plan.policy.alpha,
        verdicts=verdicts,
        level=level,
    )


def _combined(
    results: EvaluationResults, pairs: Sequence[tuple[HoldoutEvaluation, Baseline]]
) -> Measure:
    """Return several holdouts as one measure, so that many small updates guard each other."""
    hits = pooled(
        (holdout.exam.own, _top_1(results, holdout.exam, baseline)) for holdout, baseline in pairs
    )
    _, last = pairs[-1]
    replaced = last.name == LIVE
    verdicts, level = _spending(results, [holdout.exam.own for holdout, _ in pairs])
    return Measure.of(
        MeasureKind.HOLDOUTS,
        name=f"{len(pairs)} updates of the live version" if replaced else f"{len(pairs)} updates",
        baseline=LIVE if replaced else "versions that learned them",
        baseline_version=last.version.number if replaced else None,
        tolerance=last.tolerance,
        images=len(hits.now),
        now=hits.now,
        before=hits.before,
        alpha=results.plan.policy.alpha,
        verdicts=verdicts,
        level=level,
    )


def _spending(
    results: EvaluationResults, queries: Sequence[EvalQuery]
) -> tuple[int | None, float | None]:
    """Return the number of this verdict by the most used of some queries, and its level.

    Both are None without a query, or if the policy has no budget.
    """
    policy = results.plan.policy
    if policy.budget is None or not queries:
        return None, None
    verdict = max(results.verdicts.get(query.digest, 1) for query in queries)
    return verdict, policy.level(verdict)
