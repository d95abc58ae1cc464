"""Comparisons on unlabelled suites: measures that are estimated from labels of disagreements."""

from collections.abc import Iterator, Set
from dataclasses import replace
from typing import Any

from core.evaluation.comparison import Comparison
from core.evaluation.comparisons import comparisons
from core.evaluation.plan import EvaluationPlan
from core.evaluation.results import AnswersByQuery, EvaluationResults
from core.evaluation.unlabelled import SampledHits, UnlabelledExam
from core.gate.measures import Measure
from core.gate.reasons import unlabelled
from core.registry.versions import Version


def estimated(
    results: EvaluationResults,
    comparison: Comparison,
    exam: UnlabelledExam,
    before: Version,
    **spent: Any,
) -> Iterator[Measure]:
    """Yield the measure of an unlabelled suite, once enough disagreements have labels.

    `spent` is the error that it spends.
    """
    policy, hits = results.plan.policy, results.sampled(comparison, exam, before)
    if not hits.is_enough:
        return
    spent["level"] = spent["level"] * hits.disagreements.level_share
    found = Measure.of(
        comparison.kind,
        name=comparison.name,
        baseline=comparison.baseline,
        baseline_version=before.number,
        tolerance=comparison.tolerance,
        images=hits.images,
        distinct=hits.distinct,
        now=[new for new, _ in hits.hits],
        before=[old for _, old in hits.hits],
        alpha=policy.alpha,
        minimum_count=policy.minimum_count,
        may_guard=comparison.may_guard,
        asked=comparison.asked,
        own_prompts=comparison.own_prompts,
        classes=comparison.choices(results.meanings),
        disagreements=hits.disagreements,
        by_one_answer=results.by_one_answer(comparison),
        **spent,
    )
    live = results.plan.live
    if live is not None and comparison.is_cumulative:
        # Of the live version itself: what the candidate lost since the root, less what since that.
        since = results.sampled(comparison, exam, live)
        if since.is_enough:
            beside_live = replace(found, **_counted(since)).flips.difference
            found = replace(found, live_difference=found.difference - beside_live)
    yield found


def _counted(hits: SampledHits) -> dict[str, Any]:
    return {
        "gained": sum(new and not old for new, old in hits.hits),
        "lost": sum(old and not new for new, old in hits.hits),
        "disagreements": hits.disagreements,
    }


def to_label(results: EvaluationResults) -> Iterator[str]:
    """Yield why a person has to decide where too few disagreements are labelled.

    It is told for the comparison of each suite that needs most labels.
    """
    missing: dict[str, tuple[Comparison, SampledHits]] = {}
    for one, _, hits in _sampled(results):
        if not hits.is_enough:
            known = missing.get(one.name)
            if known is None or hits.wanted > known[1].wanted:
                missing[one.name] = (one, hits)
    for name, (one, hits) in missing.items():
        yield unlabelled(
            name,
            f"{results.plan.model.name}:{results.plan.candidate.number}",
            one.baseline,
            disagreed=hits.disagreed,
            labelled=len(hits.given),
            least=hits.wanted,
        )


def _sampled(
    results: EvaluationResults,
) -> Iterator[tuple[Comparison, UnlabelledExam, SampledHits]]:
    for one in comparisons(results.plan):
        (exam, before), *_ = one.pairs
        if isinstance(exam, UnlabelledExam):
            yield one, exam, results.sampled(one, exam, before)


def labelled_suites(plan: EvaluationPlan, answers: AnswersByQuery) -> Set[str]:
    """Return the unlabelled suites whose labels let the candidate pass beside its parent, or all.

    Another suite may still stand in its way.
    """
    results = EvaluationResults(plan=plan.beside_parent, answers=answers)
    missing = {one.name for one, _, hits in _sampled(results) if not hits.is_enough}
    return {one.name for one in plan.unlabelled} - missing
