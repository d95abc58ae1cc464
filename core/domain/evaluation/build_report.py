"""From an answered examination to its report."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from core.domain.evaluation.accuracy_matrix import accuracy_matrix, tasks, transfer
from core.domain.evaluation.comparisons import measures
from core.domain.evaluation.plan import ClassEvaluation, EvaluationPlan, RetrievalEvaluation
from core.domain.evaluation.report import Report
from core.domain.evaluation.results import EvaluationResults, Given
from core.domain.evaluation.tables import changes, list_scores, recall_rows, scores
from core.domain.gate.policy import judge
from core.errors import AnswersNotFinite


def build_report(
    plan: EvaluationPlan,
    answers: Given,
    *,
    previous: Report | None,
    judged_before: int,
    near_duplicates: int,
) -> Report:
    """The report of a candidate whose examination is answered.

    `previous` is the parent's report, from which the older rows of the accuracy matrix come;
    without it their cells stay empty. `judged_before` says how many candidates these test
    parts have judged, `near_duplicates` how many images of the update look like an older one.
    All of `examination.questions` must be answered: a missing answer is a KeyError. Raises
    AnswersNotFinite when a version that the candidate is compared with gives no numbers; a
    candidate that does not has failed.
    """
    sheet = EvaluationResults(plan=plan, answers=answers)
    faults = tuple(_faults(sheet))
    judgement = judge(measures(sheet), plan.policy, faults)
    headline = tuple(scores(sheet, role, version) for role, version in sheet.roles)
    now, untouched = headline[0].zero_shot, headline[2].zero_shot
    matrix = accuracy_matrix(sheet, previous)
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
        transfer=transfer(sheet, matrix),
        tasks=tasks(sheet),
        matrix=matrix,
        changes=tuple(changes(sheet)),
        lists=tuple(list_scores(sheet)),
        recalls=tuple(recall_rows(sheet)),
        judged_before=judged_before,
        near_duplicates=near_duplicates,
        images=_images(plan),
        reference=asdict(candidate.reference) if candidate.reference else None,
        notes=dict(candidate.notes),
        environments=candidate.environments,
        exact=candidate.exact,
    )


def _faults(sheet: EvaluationResults) -> Iterator[str]:
    for version, questions in sheet.plan.questions:
        broken = sheet.not_finite(version)
        if not broken:
            continue
        if version.digest != sheet.plan.candidate.digest:
            raise AnswersNotFinite(
                f"Version {version.number}, which the candidate is compared with, gives features "
                "that are not finite numbers (NaN or infinity): nothing can be compared with it.",
                version=version.number,
            )
        yield (
            "The model gives features that are not finite numbers (NaN or infinity), in "
            f"{broken} of {len(questions)} questions: it cannot be used. Answers without a "
            "number count as wrong below."
        )


def _policy(plan: EvaluationPlan) -> dict[str, Any]:
    policy = plan.policy
    return asdict(policy) | {"created_at": policy.created_at.isoformat()}


def _images(plan: EvaluationPlan) -> dict[str, int]:
    exams: list[ClassEvaluation | RetrievalEvaluation] = [*plan.zero_shot, *plan.retrieval]
    holdouts = (*plan.holdouts, *plan.live_holdouts)
    exams += [holdout.exam for holdout in holdouts]
    return {exam.name: len(exam.own.entries) for exam in exams}
