"""Score a candidate for forgetting and let the gate judge it."""

from collections.abc import Mapping, Sequence

from core.domain.evaluation.build_report import build_report
from core.domain.evaluation.plan import EvaluationPlan
from core.domain.evaluation.query import (
    Answers,
    ClassAnswers,
    EvalQuery,
    answers_to_json,
    probabilities_of,
)
from core.domain.evaluation.results import AnswersByQuery
from core.domain.jobs.job import Job, model_of
from core.domain.jobs.order import UpdateOrder
from core.domain.registry.version import Version
from core.domain.rejection.query import newest_of_root
from core.domain.values import Digest, canonical_json
from core.domain.webhooks.event import version_judged
from core.errors import ArtifactMissing
from core.ports import Evaluator, Monitor, Platform, UnitOfWork
from core.use_cases.evaluation.plan_evaluation import plan_evaluation
from core.use_cases.evaluation.stored_answers import damaged_in, read_each
from core.use_cases.registry.aliases.auto_promote import promote_if_passed


def evaluate_version(
    platform: Platform,
    evaluator: Evaluator,
    job: Job,
    number: int,
    monitor: Monitor,
    *,
    promote: UpdateOrder | None,
) -> None:
    """Score a version; commit report, verdict, promotion and the job's end in one transaction.

    `promote` is the update that may move its alias; None judges without moving anything.
    """
    while True:
        plan, previous, near_duplicates = plan_evaluation(platform, job, number)
        try:
            answers = _answer(platform, evaluator, job, plan, monitor)
            break
        except ArtifactMissing:
            if not _holds_erased(platform, plan):  # the next plan leaves these out
                raise
    report = build_report(
        plan,
        answers,
        previous=previous,
        verdicts=_verdicts(platform, plan),
        judged_before=_judged_before(platform, plan),
        near_duplicates=near_duplicates,
    )
    stored = platform.artifacts.put(report.to_bytes())
    now = platform.clock()
    with platform.transactions() as work:
        version = work.versions.get(model_of(job), number, lock=True)
        version = version.judged(report.verdict, stored)
        work.versions.save(version)
        _keep_root_calibration(work, plan)
        work.outbox.add(version_judged(version, job, now))
        result = {"version": number, "report": stored, "verdict": report.verdict.value}
        if promote is not None:
            result["promotion"] = promote_if_passed(platform, work, job, version, report, promote)
        work.jobs.finish(job.succeed(result, now), job.fence)
        work.commit()


def _keep_root_calibration(work: UnitOfWork, plan: EvaluationPlan) -> None:
    """Store the root's answer where it is found without the suites that it is about."""
    if plan.root_calibration is not None:
        stored = work.answers.stored([plan.root.digest], [plan.root_calibration.digest])
        for artifact in stored.values():
            work.answers.add(plan.root.digest, newest_of_root(plan.model.id), artifact)


def _holds_erased(platform: Platform, plan: EvaluationPlan) -> bool:
    """Return whether an image of the plan was erased since it was made."""
    queries = [query for _, questions in plan.questions for query in questions]
    with platform.transactions(read_only=True) as work:
        return bool(
            work.erasures.erased({one.pixels for query in queries for one in query.entries})
        )


def _answer(
    platform: Platform, evaluator: Evaluator, job: Job, plan: EvaluationPlan, monitor: Monitor
) -> AnswersByQuery:
    """Return all answers; answers stored by earlier evaluations are reused."""
    answers: dict[tuple[Digest, Digest], Answers] = {}
    for version, questions in plan.questions:
        answers |= _stored_answers(platform, version, questions)
        unknown = [q for q in questions if (version.digest, q.digest) not in answers]
        if unknown:
            version.require_weights()
            given = evaluator.answer(version.digest, unknown, monitor)
            fresh = {q.digest: answer for q, answer in zip(unknown, given, strict=True)}
            _store_answers(platform, job, version, fresh)
            answers |= {(version.digest, question): answer for question, answer in fresh.items()}
    return answers


def _stored_answers(
    platform: Platform, version: Version, questions: Sequence[EvalQuery]
) -> AnswersByQuery:
    """Return stored answers; a version with weights gives damaged ones again, all of them."""
    beside = {question.digest: probabilities_of(question.digest) for question in questions}
    with platform.transactions(read_only=True) as work:
        kept = work.answers.stored([version.digest], beside.keys())
        sure = work.answers.stored([version.digest], beside.values())
    answers = read_each(platform.artifacts, kept)
    if version.collected_at is not None:
        return answers
    damaged = damaged_in(platform.artifacts, sure)
    return {
        (digest, question): answer
        for (digest, question), answer in answers.items()
        if (digest, beside[question]) not in damaged
    }


def _store_answers(
    platform: Platform, job: Job, version: Version, fresh: dict[Digest, Answers]
) -> None:
    """Keep answers for the next evaluation. Raises LeaseLost."""
    stored = {
        question: platform.artifacts.put(canonical_json(answers_to_json(answers)))
        for question, answers in fresh.items()
    }
    for question, answers in fresh.items():
        if isinstance(answers, ClassAnswers) and answers.probabilities is not None:
            found = canonical_json({"probabilities": list(answers.probabilities)})
            stored[probabilities_of(question)] = platform.artifacts.put(found)
    with platform.transactions() as work:
        work.jobs.status(job.id, job.fence)
        for question, artifact in stored.items():
            work.answers.add(version.digest, question, artifact)
        work.commit()


def _verdicts(platform: Platform, plan: EvaluationPlan) -> Mapping[Digest, int]:
    """Return how many versions of the model each guarded query has judged, this one included.

    A version whose answers are stored has been judged, whatever the verdict: its next try is
    another version. Scoring it again spends nothing, because the answers stay the same.
    """
    asked = [exam.own.digest for exam in plan.zero_shot]
    asked += [exam.own.digest for exam in plan.retrieval]
    asked += [holdout.exam.own.digest for holdout in (*plan.earlier, *plan.live_holdouts)]
    with platform.transactions(read_only=True) as work:
        return work.answers.judged_in(plan.model.id, asked)


def _judged_before(platform: Platform, plan: EvaluationPlan) -> int:
    """Count the other versions that have answered the suites' queries."""
    asked = [exam.own.digest for exam in plan.zero_shot]
    asked += [exam.own.digest for exam in plan.retrieval]
    with platform.transactions(read_only=True) as work:
        counts = [work.answers.judged(question) for question in asked]
    others = {plan.candidate.digest, plan.root.digest}
    return max(0, max(counts, default=0) - len(others))
