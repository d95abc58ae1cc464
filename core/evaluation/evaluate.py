"""Score a version and judge it: the second half of an update."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from importlib.metadata import version as release
from typing import Protocol

from core import errors
from core.database.work import Work
from core.datasets.rows import ErasedImages
from core.evaluation.answers import Answers, ClassAnswers, answers_to_json, views_to_json
from core.evaluation.auto_promote import promote_if_passed
from core.evaluation.estimates import labelled_suites
from core.evaluation.evidence import EVIDENCE, Evaluated, facts_of, parts_of
from core.evaluation.judge import build_report, verdicts_beside
from core.evaluation.looks import Looks
from core.evaluation.plan import EvaluationPlan
from core.evaluation.queries import (
    ClassQuery,
    EvalQuery,
    list_of_images,
    probabilities_of,
    views_of,
)
from core.evaluation.read_plan import plan_evaluation
from core.evaluation.results import AnswersByQuery
from core.evaluation.rows import AnswerCache
from core.evaluation.spending import spending_in
from core.evaluation.stored_answers import damaged_in, read_each, with_views
from core.gate.rules import Verdict
from core.jobs.orders import CandidateOrder
from core.jobs.rows import Jobs
from core.jobs.rules import Job, Monitor, model_of
from core.outbox.rows import Outbox
from core.outbox.rules import EventType, OutboxEvent
from core.platform import Platform
from core.registry.alias_rows import Aliases
from core.registry.read import ancestors, read_json
from core.registry.rows import Models
from core.registry.verdict_rows import Tries, Verdicts
from core.registry.verdicts import VersionVerdict, shown_verdict
from core.registry.version_rows import Versions
from core.registry.versions import ServingPrecision, Version, version_path
from core.rejection.queries import newest_of_root
from core.rejection.rules import Calibration
from core.trials.run import end_failed_canaries
from core.values import Digest, canonical_json, new_id


class Evaluator(Protocol):
    def answer(
        self, version: Digest, queries: Sequence[EvalQuery], monitor: Monitor
    ) -> Sequence[Answers]:
        """Return a version's answers; images that several queries share are encoded once."""

    def release(self, precision: ServingPrecision) -> str | None:
        """Return the release that answers in a precision, where another one's do not count.

        None in fp32, in which all give the same features, and where nothing computes in it here.
        """


def evaluate_version(
    platform: Platform,
    evaluator: Evaluator,
    job: Job,
    number: int,
    monitor: Monitor,
    *,
    promote: CandidateOrder | None,
) -> None:
    """Score a version; commit report, verdict, promotion and the job's end in one transaction.

    `promote` is the order that may move its alias; None judges without moving anything.
    """
    while True:
        plan, previous, near_duplicates = plan_evaluation(platform, job, number)
        try:
            answers = _answer(platform, evaluator, job, plan, monitor)
            _keep_parts(platform, job, plan, answers)
            break
        except errors.ArtifactMissing:
            if not _is_outdated(platform, plan):  # the next plan leaves out what has gone
                raise
    with platform.transactions(read_only=True) as work:
        looks = Looks.of(work, platform.artifacts, plan)
        spending = spending_in(work, platform.artifacts, plan, looks)
        judged_before = _judged_before(work, plan)
    report = build_report(
        plan,
        answers,
        previous=previous,
        spending=spending,
        failed_before=looks.failed,
        judged_before=judged_before,
        near_duplicates=near_duplicates,
    )
    stored = platform.artifacts.put(report.to_bytes())
    now = platform.clock()
    verdicts = verdicts_beside(plan, answers, report, spending=spending, failed_before=looks.failed)
    evaluated = Evaluated(
        plan=plan,
        answers=answers,
        spending=spending,
        failed_before=looks.failed,
        report=stored,
        verdicts=verdicts,
        job=job.id,
        release=release("perennial"),
        at=now,
    )
    facts = platform.artifacts.put(canonical_json(facts_of(evaluated)))
    failed = any(given.verdict is Verdict.FAILED for given in verdicts)  # which stands
    labels = looks.with_labels(looks.labels if failed else labelled_suites(plan, answers))
    with platform.transactions() as work:
        work[Models].hold(model_of(job))  # no canary of what has its tensors starts meanwhile
        version = work[Versions].get(model_of(job), number, lock=True)
        newest = [
            VersionVerdict(
                model=version.model,
                version=number,
                policy=plan.policy.id,
                suites=tuple(sorted(suite.id for suite in plan.suites)),
                labels=labels,
                report=stored,
                job=job.id,
                at=now,
                **vars(given),
            )
            for given in verdicts
        ]
        version = _record(work, version, newest)
        if read_json(platform.artifacts, work[AnswerCache].find(stored, EVIDENCE)) is None:
            work[AnswerCache].add(stored, EVIDENCE, facts)  # else the same report is there already
        _keep_root_calibration(work, plan)
        work[Outbox].add(version_judged(version, report.verdict, job, now))
        end_failed_canaries(work, version, actor=f"job {job.id}", now=now)
        result = {"version": number, "report": stored, "verdict": report.verdict.value}
        if promote is not None:
            result["promotion"] = promote_if_passed(platform, work, job, version, report, promote)
        work[Jobs].finish(job.succeed(result, now), job.fence)
        work.commit()


def _record(work: Work, version: Version, newest: Sequence[VersionVerdict]) -> Version:
    """Store the verdicts of an evaluation, and what pages show of the version from now on."""
    for verdict in newest:
        work[Verdicts].add(verdict)
    line = (*ancestors(work, version), version)
    work[Tries].add(line[:-1], [line[-1].digest], newest[-1].suites, newest[-1].at)
    shown = shown_verdict(
        newest[-1],
        work[Verdicts].on(version.model, version.number),
        work[Models].get(version.model),
        {version.parent, *(alias.version for alias in work[Aliases].all(version.model))},
    )
    version = version.judged(shown.verdict, shown.report)
    work[Versions].save(version)
    return version


def _keep_root_calibration(work: Work, plan: EvaluationPlan) -> None:
    """Store the root's answer where it is found without the suites that it is about."""
    if plan.root_calibration is not None:
        stored = work[AnswerCache].find(plan.root.digest, plan.root_calibration.digest)
        if stored is not None:
            work[AnswerCache].add(plan.root.digest, newest_of_root(plan.model.id), stored)


def _is_outdated(platform: Platform, plan: EvaluationPlan) -> bool:
    """Return whether an image or a version's weights have gone since the plan was made."""
    queries = [query for _, questions in plan.questions for query in questions]
    asked = {one.number for one, _ in plan.questions if one.collected_at is None}
    with platform.transactions(read_only=True) as work:
        there = work[Versions].some(plan.model.id, asked).values()
        kept = [version for version in there if version.collected_at is None]
        return len(kept) < len(asked) or bool(
            work[ErasedImages].erased({one.pixels for query in queries for one in query.entries})
        )


def _answer(
    platform: Platform, evaluator: Evaluator, job: Job, plan: EvaluationPlan, monitor: Monitor
) -> AnswersByQuery:
    """Return all answers; answers stored by earlier evaluations are reused."""
    answers: dict[tuple[Digest, Digest], Answers] = {}
    for version, questions in plan.questions:
        release = evaluator.release(version.precision)
        answers |= _stored_answers(platform, version, questions, release)
        unknown = [q for q in questions if (version.digest, q.digest) not in answers]
        if unknown:
            version.require_weights()
            given = evaluator.answer(version.digest, unknown, monitor)
            fresh = list(zip(unknown, given, strict=True))
            _store_answers(platform, job, version, fresh, release)
            answers |= {(version.digest, question.digest): answer for question, answer in fresh}
    return answers


def _stored_answers(
    platform: Platform, version: Version, questions: Sequence[EvalQuery], release: str | None
) -> AnswersByQuery:
    """Return stored answers, with those to as many views as are stored.

    A version with weights gives damaged ones again, those without answers to all views and, with a
    release, those that another one has given.
    """
    if version.collected_at is not None:
        release = None
    by_digest = {question.digest: question for question in questions}
    with platform.transactions(read_only=True) as work:
        stored = partial(work[AnswerCache].stored, [version.digest], release=release)
        kept = stored(by_digest)
        sure = stored([probabilities_of(question) for question in by_digest])
        viewed = stored([views_of(question) for question in by_digest])
    answers = {
        (digest, question): with_views(
            platform.artifacts, answer, viewed.get((digest, views_of(question)))
        )
        for (digest, question), answer in read_each(platform.artifacts, kept).items()
    }
    if version.collected_at is not None:
        return answers
    damaged = damaged_in(platform.artifacts, sure)
    return {
        (digest, question): answer
        for (digest, question), answer in answers.items()
        if (digest, probabilities_of(question)) not in damaged
        and _has_views(answer, by_digest[question])
    }


def _has_views(answer: Answers, query: EvalQuery) -> bool:
    """Return whether a version has answered all views that a query asks about."""
    if not (isinstance(query, ClassQuery) and isinstance(answer, ClassAnswers)):
        return True
    return len(answer.views) >= query.views


def _store_answers(
    platform: Platform,
    job: Job,
    version: Version,
    fresh: Sequence[tuple[EvalQuery, Answers]],
    release: str | None,
) -> None:
    """Keep answers for the next evaluation, each with the list of its images.

    Raises LeaseLost, or ArtifactMissing if one of the images was erased meanwhile.
    """
    put = platform.artifacts.put
    stored: list[tuple[Digest, Digest, Digest | None]] = []
    for question, answers in fresh:
        images = None
        if not isinstance(answers, Calibration):
            images = put(list_of_images(question))
        artifact = put(canonical_json(answers_to_json(answers)))
        stored.append((question.digest, artifact, images))
        if isinstance(answers, ClassAnswers) and answers.probabilities is not None:
            found = put(canonical_json({"probabilities": list(answers.probabilities)}))
            stored.append((probabilities_of(question.digest), found, images))
        if isinstance(answers, ClassAnswers) and answers.views:
            found = put(canonical_json(views_to_json(answers.views)))
            stored.append((views_of(question.digest), found, images))
    with platform.transactions() as work:
        work[Jobs].status(job.id, job.fence)
        _require_unerased(work, (query for query, _ in fresh))
        for answered in stored:
            work[AnswerCache].add(version.digest, *answered, release=release)
        work.commit()


def _keep_parts(
    platform: Platform, job: Job, plan: EvaluationPlan, answers: AnswersByQuery
) -> None:
    """Keep the images and answers that the verdict follows from, as parts of its evidence.

    Raises LeaseLost, or ArtifactMissing if one of the images was erased meanwhile.
    """
    put, parts = platform.artifacts.put, parts_of(plan, answers)
    for listed in {list_of_images(query) for _, query in parts.values()}:
        put(listed)  # which replaces a damaged list, by which an erasure would find no answers
    with platform.transactions(read_only=True) as work:
        known = work[AnswerCache].stored({images for images, _ in parts}, {one for _, one in parts})
    damaged = damaged_in(platform.artifacts, known)
    new = [found for key, found in parts.items() if key not in known or key in damaged]
    rows = [(put(part), put(list_of_images(query))) for part, query in new]
    if new:
        with platform.transactions() as work:
            work[Jobs].status(job.id, job.fence)
            _require_unerased(work, (query for _, query in new))
            for part, images in rows:
                work[AnswerCache].add(images, part, part, images)
            work.commit()


def _require_unerased(work: Work, queries: Iterable[EvalQuery]) -> None:
    if work[ErasedImages].erased({one.pixels for query in queries for one in query.entries}):
        raise errors.ArtifactMissing


def _judged_before(work: Work, plan: EvaluationPlan) -> int:
    """Return how many other versions, of any model, have answered the suites' queries."""
    suites = [exam.own.digest for exam in plan.zero_shot]
    suites += [exam.own.digest for exam in plan.retrieval]
    suites += [exam.own.digest for exam in plan.unlabelled]
    counts = [work[AnswerCache].judged(question) for question in suites]
    return max(0, max(counts, default=0) - len({plan.candidate.digest, plan.root.digest}))


def version_judged(version: Version, verdict: Verdict, job: Job, now: datetime) -> OutboxEvent:
    """Return the event of a version that the gate has judged."""
    path = version_path(version.model, version.number)
    return OutboxEvent(
        id=new_id("evt", now),
        type=EventType.VERSION_JUDGED,
        object=f"{version.model}:{version.number}",
        model=version.model,
        data={
            "model": version.model,
            "version": version.number,
            "verdict": verdict.value,
            "job": job.id,
            "links": {
                "version": path,
                "forgetting": f"{path}/forgetting?job={job.id}",
                "job": f"/v1/jobs/{job.id}",
            },
        },
        at=now,
    )
