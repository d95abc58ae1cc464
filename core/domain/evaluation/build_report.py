"""Construction of the report of an evaluation."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from core.domain.evaluation.accuracy_matrix import accuracy_matrix, tasks, transfer
from core.domain.evaluation.budget_use import budget_use
from core.domain.evaluation.comparisons import measures
from core.domain.evaluation.plan import ClassEvaluation, EvaluationPlan, RetrievalEvaluation
from core.domain.evaluation.report import Report
from core.domain.evaluation.report_tables import changes, list_scores, recall_rows, scores
from core.domain.evaluation.results import AnswersByQuery, EvaluationResults
from core.domain.gate.policy import judge
from core.domain.values import Digest
from core.errors import AnswersNotFinite


def build_report(
    plan: EvaluationPlan,
    answers: AnswersByQuery,
    *,
    previous: Report | None,
    verdicts: Mapping[Digest, int],
    judged_before: int,
    near_duplicates: int,
) -> Report:
    """Return the report of a candidate from the answers to its evaluation plan.

    `previous` is the parent's report, the source of the older rows of the accuracy matrix; without
    it their cells stay empty. `verdicts` is the number of versions of the line that each query has
    judged, this one included; a query that is missing judges its first. `judged_before` is the
    number of candidates that these test parts have judged, in any line, and `near_duplicates` the
    number of the update's images with an older near-duplicate.
    `answers` must cover `plan.questions`; a missing answer is a KeyError. Raises AnswersNotFinite
    when a version that the candidate is compared with has features that are not finite; a
    candidate with such features fails.
    """
    results = EvaluationResults(plan=plan, answers=answers, verdicts=verdicts)
    faults = tuple(_faults(results))
    compared = measures(results)
    judgement = judge(compared, plan.policy, faults)
    headline = tuple(scores(results, role, version) for role, version in results.roles)
    now, untouched = headline[0].zero_shot, headline[2].zero_shot
    matrix = accuracy_matrix(results, previous)
    candidate, parent, root = plan.candidate, plan.parent, plan.root
    live = plan.live
    return Report(
        model=plan.model.name,
        version=candidate.number,
        digest=candidate.digest,
        parent=parent.number,
        parent_digest=parent.digest,
        root=root.number,
        root_digest=root.digest,
        live=live.number if live else None,
        live_digest=live.digest if live else None,
        suites={suite.id: suite.name for suite in plan.suites},
        recipe=candidate.recipe.to_json() if candidate.recipe else None,
        dataset=candidate.dataset,
        dataset_version=candidate.dataset_version,
        update_classes=candidate.update_classes,
        classes=candidate.classes,
        prompt=candidate.prompt.text,
        policy=_policy(plan),
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        rulings=judgement.rulings,
        scores=headline,
        retention=now / untouched if now is not None and untouched else None,
        zero_shot_change=None if now is None or untouched is None else now - untouched,
        transfer=transfer(results, matrix),
        tasks=tasks(results),
        matrix=matrix,
        changes=tuple(changes(results)),
        lists=tuple(list_scores(results)),
        recalls=tuple(recall_rows(results)),
        budgets=tuple(budget_use(compared, plan.policy)),
        judged_before=judged_before,
        near_duplicates=near_duplicates,
        images=_images(plan),
        reference=asdict(candidate.reference) if candidate.reference else None,
        notes=dict(candidate.notes),
        environments=candidate.environments,
        exact=candidate.exact,
        rejection=results.calibration,
    )


def _faults(results: EvaluationResults) -> Iterator[str]:
    for version, queries in results.plan.questions:
        broken = results.not_finite(version)
        if not broken:
            continue
        if version.digest != results.plan.candidate.digest:
            raise AnswersNotFinite(
                f"The features of version {version.number}, which the candidate is compared with, "
                "contain NaN or infinity, so the comparison is impossible.",
                version=version.number,
            )
        yield (
            f"The version's features contain NaN or infinity in {broken} of {len(queries)} "
            "evaluations, so it cannot be used. Images with such features count as wrong below."
        )


def _policy(plan: EvaluationPlan) -> dict[str, Any]:
    policy = plan.policy
    return asdict(policy) | {"created_at": policy.created_at.isoformat()}


def _images(plan: EvaluationPlan) -> dict[str, int]:
    evaluations: list[ClassEvaluation | RetrievalEvaluation] = [*plan.zero_shot, *plan.retrieval]
    holdouts = (*plan.holdouts, *plan.live_holdouts)
    evaluations += [holdout.exam for holdout in holdouts]
    return {evaluation.name: len(evaluation.own.entries) for evaluation in evaluations}
