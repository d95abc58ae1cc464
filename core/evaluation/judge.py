"""Judge a candidate: its report, and the verdicts that an evaluation gives."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from core.errors import AnswersNotFinite
from core.evaluation.class_losses import class_losses, worse_classes
from core.evaluation.estimates import to_label
from core.evaluation.exams import ClassExam, Exam
from core.evaluation.guards import unguarded_in
from core.evaluation.measures import measures
from core.evaluation.plan import EvaluationPlan
from core.evaluation.report import GrownImages, Report, budget_use
from core.evaluation.report_tables import changes, list_scores, recall_rows, scores, taken
from core.evaluation.results import (
    AnswersByQuery,
    EvaluationResults,
    accuracy_matrix,
    tasks,
    transfer,
)
from core.evaluation.summary import summarise
from core.gate.judge import Judgement, judge
from core.gate.levels import Spending
from core.gate.measures import Measure
from core.gate.rules import Verdict
from core.values import Digest, SuiteId


def build_report(
    plan: EvaluationPlan,
    answers: AnswersByQuery,
    *,
    previous: Report | None,
    spending: Mapping[Digest, Spending],
    failed_before: frozenset[int] = frozenset(),
    judged_before: int,
    near_duplicates: int,
) -> Report:
    """Return the report of a candidate from the answers to its evaluation plan.

    `previous` is the parent's report, the source of the older rows of the accuracy matrix; without
    it their cells stay empty. `spending` is by query: one that is missing judges its first
    version. `failed_before` are the versions beside which an earlier look has failed,
    `judged_before` is the number of candidates that these test parts have judged, in any line, and
    `near_duplicates` the number of the update's images with an older near-duplicate.
    `answers` must cover `plan.questions`; a missing answer is a KeyError. Raises AnswersNotFinite
    when a version that the candidate is compared with has features that are not finite; a
    candidate with such features fails.
    """
    results = EvaluationResults(
        plan=plan, answers=answers, spending=spending, failed_before=failed_before
    )
    compared = measures(results)
    judgement = _judge(results, compared)
    headline = tuple(scores(results, role, version) for role, version in results.roles)
    now, untouched = headline[0].zero_shot, headline[2].zero_shot
    matrix = accuracy_matrix(results, previous)
    candidate, parent, root = plan.candidate, plan.parent, plan.root
    live, unguarded = plan.live, unguarded_in(plan)
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
        precision=candidate.precision,
        converted=candidate.is_conversion,
        captions=candidate.taught_captions,
        update_classes=candidate.update_classes,
        classes=candidate.classes,
        prompt=candidate.prompt.text,
        policy=asdict(plan.policy) | {"created_at": plan.policy.created_at.isoformat()},
        verdict=judgement.verdict,
        summary=summarise(
            candidate.update_classes,
            judgement,
            plan.policy.minimum_count,
            unguarded,
            worse_classes(results),
            captions=candidate.taught_captions,
        ),
        reasons=judgement.reasons,
        unguarded=unguarded,
        measures=judgement.measures,
        lost_classes=judgement.lost_classes,
        scores=headline,
        retention=now / untouched if now is not None and untouched else None,
        zero_shot_change=None if now is None or untouched is None else now - untouched,
        transfer=transfer(results, matrix),
        tasks=tasks(results),
        matrix=matrix,
        changes=tuple(changes(results)),
        lists=tuple(list_scores(results)),
        taken=tuple(taken(results)),
        recalls=tuple(recall_rows(results)),
        budgets=tuple(budget_use(compared, plan.policy)),
        grown=tuple(_grown(results)),
        unlabelled=tuple(one.name for one in plan.unlabelled),
        to_label=judgement.to_label,
        judged_before=judged_before,
        near_duplicates=near_duplicates,
        images=_images(plan),
        reference=asdict(candidate.reference) if candidate.reference else None,
        notes=dict(candidate.notes),
        environments=candidate.environments,
        exact=candidate.exact,
        rejection=results.calibration,
    )


@dataclass(frozen=True, kw_only=True)
class BesideVerdict:
    """The verdict on a candidate as the replacement of one version."""

    beside: int
    verdict: Verdict
    images: int  # test images that were judged, and labels of unlabelled ones
    holdouts: tuple[SuiteId, ...]  # the images that were added to holdouts
    updates: tuple[int, ...] = ()  # what it was asked about though it lacks them
    settled: tuple[int, ...] = ()  # the ancestors that a passing verdict had let go live


def verdicts_beside(
    plan: EvaluationPlan,
    answers: AnswersByQuery,
    report: Report,
    *,
    spending: Mapping[Digest, Spending],
    failed_before: frozenset[int] = frozenset(),
) -> tuple[BesideVerdict, ...]:
    """Return the verdicts that an evaluation gives: beside the parent and beside the live version.

    That beside the parent leaves out what only the comparison with another live version judges. As
    the parent is not live there, its losses are the candidate's: otherwise the child of a version
    that failed could go live where nothing is.
    That beside the live version, if it is not the parent, is the one of the report.
    """
    parent, live = plan.parent.number, plan.live
    whole = BesideVerdict(
        beside=parent if live is None else live.number,
        verdict=report.verdict,
        images=judged_images(plan),
        holdouts=plan.added,
        updates=tuple(one.number for one in plan.lost),
        settled=plan.settled_before,
    )
    if whole.beside == parent:
        return (whole,)
    alone = plan.beside_parent
    results = EvaluationResults(
        plan=alone, answers=answers, spending=spending, failed_before=failed_before
    )
    judgement = _judge(results, measures(results))
    beside_parent = BesideVerdict(
        beside=parent,
        verdict=judgement.verdict,
        images=judged_images(alone),
        holdouts=alone.added,
        settled=plan.settled_before,
    )
    return beside_parent, whole


def _judge(results: EvaluationResults, compared: Sequence[Measure]) -> Judgement:
    """Return the judgement; what has failed beside the parent has failed everywhere."""
    plan = results.plan
    beside = {plan.parent.number, plan.live.number if plan.live else plan.parent.number}
    return judge(
        compared,
        plan.policy,
        tuple(_faults(results)),
        class_losses(results),
        to_label=tuple(to_label(results)),
        converted=plan.candidate.is_conversion,
        failed_before=not beside.isdisjoint(results.failed_before),
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


def _images(plan: EvaluationPlan) -> dict[str, int]:
    exams: list[Exam] = [*plan.suite_exams]
    exams += [holdout.exam for holdout in (*plan.holdouts, *plan.live_holdouts)]
    exams += [holdout.exam for holdout in (*plan.captioned, *plan.live_captioned)]
    return {exam.name: len(exam.own.entries) for exam in exams}


def judged_images(plan: EvaluationPlan) -> int:
    """Return the test images that an evaluation judges, and the labels of unlabelled ones."""
    return sum(_images(plan).values()) + sum(len(one.labels) for one in plan.unlabelled)


def _grown(results: EvaluationResults) -> Iterator[GrownImages]:
    """Yield the test images that have grown, those of all other updates' holdouts together."""
    plan = results.plan
    for exam in plan.suite_exams:
        spent = results.spending.get(exam.own.digest, Spending())
        images = len(exam.own.entries)
        if spent.seen:
            yield GrownImages(
                name=exam.name, images=images, seen=spent.seen, look=spent.look, common=images
            )
    if plan.added:
        spent = results.spending.get(plan.kept[0].exam.own.digest, Spending())
        yield GrownImages(
            name="holdouts",
            images=_count(one.exam for one in plan.kept),
            seen=spent.seen,
            look=spent.look,
            common=_count(one.common for one in plan.kept if one.common),
        )


def _count(exams: Iterable[ClassExam]) -> int:
    return len({entry.pixels for exam in exams for entry in exam.own.entries})
