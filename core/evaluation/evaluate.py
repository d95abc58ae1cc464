"""Score a version and judge it: the second half of an update."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from importlib.metadata import version as release
from typing import Any, Protocol

from core import errors
from core.access.authenticate import holder_of
from core.access.rows import Keys
from core.artifacts.store import Artifacts
from core.database.work import Work
from core.datasets.rows import Datasets, ErasedImages
from core.datasets.rules import Suite
from core.datasets.version_rows import Suites
from core.evaluation.estimates import labelled_suites
from core.evaluation.evidence import EVIDENCE, Evaluated, facts_of, parts_of
from core.evaluation.judge import build_report, verdicts_beside
from core.evaluation.looks import Looks
from core.evaluation.plan import (
    EvaluationPlan,
    HeldOutUpdate,
    LiveLineage,
    plan_queries,
)
from core.evaluation.queries import (
    Answers,
    ClassAnswers,
    ClassQuery,
    EvalQuery,
    answers_to_json,
    list_of_images,
    probabilities_of,
    views_of,
    views_to_json,
)
from core.evaluation.report import Report
from core.evaluation.results import AnswersByQuery
from core.evaluation.rows import AnswerCache
from core.evaluation.spending import spending_in
from core.evaluation.stored_answers import damaged_in, read_each, read_suite, with_views
from core.gate.rows import Policies
from core.gate.rules import Verdict
from core.jobs.orders import EvaluateOrder, UpdateOrder
from core.jobs.rows import Jobs
from core.jobs.rules import Job, Monitor, model_of
from core.outbox.rows import Outbox
from core.outbox.rules import EventType, OutboxEvent
from core.platform import Platform
from core.principal import Role
from core.registry.alias_rows import Aliases
from core.registry.aliases import MoveKind
from core.registry.inheritance import inheritance, is_ancestor, lost_updates
from core.registry.promote import let_live, live_version, point_alias, promotion_requirements
from core.registry.read import added_images, ancestors, holdout_of, read_added, read_json
from core.registry.rows import Models, Versions
from core.registry.verdict_rows import Tries, Verdicts
from core.registry.verdicts import VersionVerdict, shown_verdict
from core.registry.versions import Model, Version, version_path
from core.rejection.queries import newest_of_root
from core.rejection.rules import Calibration
from core.trials.run import end_failed_canaries
from core.values import Digest, JobId, Json, canonical_json, new_id


class Evaluator(Protocol):
    def answer(
        self, version: Digest, queries: Sequence[EvalQuery], monitor: Monitor
    ) -> Sequence[Answers]:
        """Return a version's answers; images that several queries share are encoded once."""


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
    work[Tries].add(line, newest[-1].suites, newest[-1].at)
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
        answers |= _stored_answers(platform, version, questions)
        unknown = [q for q in questions if (version.digest, q.digest) not in answers]
        if unknown:
            version.require_weights()
            given = evaluator.answer(version.digest, unknown, monitor)
            fresh = list(zip(unknown, given, strict=True))
            _store_answers(platform, job, version, fresh)
            answers |= {(version.digest, question.digest): answer for question, answer in fresh}
    return answers


def _stored_answers(
    platform: Platform, version: Version, questions: Sequence[EvalQuery]
) -> AnswersByQuery:
    """Return stored answers, with those to as many views as are stored.

    A version with weights gives damaged ones again, and those without answers to all views.
    """
    by_digest = {question.digest: question for question in questions}
    with platform.transactions(read_only=True) as work:
        stored = partial(work[AnswerCache].stored, [version.digest])
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
    platform: Platform, job: Job, version: Version, fresh: Sequence[tuple[EvalQuery, Answers]]
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
            work[AnswerCache].add(version.digest, *answered)
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


# The plan: which version must answer which query.


def plan_evaluation(
    platform: Platform, job: Job, number: int
) -> tuple[EvaluationPlan, Report | None, int]:
    """Return the queries, the parent's report for the older matrix rows, and near-duplicates."""
    artifacts = platform.artifacts
    with platform.transactions(read_only=True) as work:
        model = pinned_model(work, job.id)
        candidate = work[Versions].get(model.id, number)
        line = ancestors(work, candidate)
        own, *earlier = held_out_updates(work, artifacts, model, (candidate, *line[1:]))
        plan = plan_queries(
            model=model,
            policy=work[Policies].get(model.policy),
            candidate=own,
            parent=line[-1],
            root=line[0],
            earlier=earlier,
            suites=[
                read_suite(work, artifacts, work[Suites].newest(suite)) for suite in model.suites
            ],
            live=_live_line(work, artifacts, model, job, candidate),
            can_answer=lambda version, query: (
                version.collected_at is None
                or work[AnswerCache].find(version.digest, query.digest) is not None
            ),
        )
        near = 0
        if data := candidate.data:
            near = work[Datasets].version(data.dataset, data.version).near_duplicates
    return plan, _previous(artifacts, line[-1]), near


def _live_line(
    work: Work, artifacts: Artifacts, model: Model, job: Job, candidate: Version
) -> LiveLineage | None:
    """Return the live version that the candidate would replace, with what that inherits.

    None if it descends from the candidate, which cannot know what was learned later.
    """
    if not isinstance(job.order, UpdateOrder | EvaluateOrder):
        return None
    live = live_version(work, candidate, job.order.alias)
    if live is None:
        return None
    if is_ancestor(work, candidate, live):
        return None
    lost = lost_updates(work, candidate, live, job.order.alias)
    return LiveLineage(
        version=live,
        lineage=inheritance(work, live, job.order.alias),
        updates=tuple(held_out_updates(work, artifacts, model, lost)),
    )


def held_out_updates(
    work: Work,
    artifacts: Artifacts,
    model: Model,
    versions: Sequence[Version],
    added: Mapping[int, Suite] | None = None,
) -> list[HeldOutUpdate]:
    """Return the updates that made some versions of a model, with the images held out of each.

    `added` are those that were added since, by number: without it, all that were.
    """
    passed = let_live(work, model)
    if added is None:
        added = added_images(work, model.id)
    return [
        HeldOutUpdate(
            version=version,
            holdout=holdout_of(work, artifacts, version),
            passed=version.number in passed,
            more=read_added(work, artifacts, added, version),
            added=added[version.number].id if version.number in added else None,
        )
        for version in versions
    ]


def _previous(artifacts: Artifacts, parent: Version) -> Report | None:
    """Return the parent's report, if it can be read: it only fills in older cells of a table."""
    try:
        report = read_json(artifacts, parent.report)
        return Report.from_json(report) if report else None
    except errors.ReportUnreadable:
        return None


def pinned_model(work: Work, job: JobId) -> Model:
    """Return the model of a job with the suites and the policy that are pinned with the job."""
    pinned = work[Jobs].get(job)
    model = work[Models].get(model_of(pinned))
    suites = model.suites if pinned.suites is None else pinned.suites
    return replace(model, suites=suites, policy=pinned.policy or model.policy)


# The promotion of an update that passed the gate.


def promote_if_passed(
    platform: Platform,
    work: Work,
    job: Job,
    version: Version,
    report: Report,
    order: UpdateOrder,
) -> Json:
    """Move the alias if the gate passed, promotion was requested and nothing has changed since.

    The alias must still point at the parent, the verdict that decides must have passed the version,
    and the key that ordered the update must still allow its holder to move aliases.
    """
    passed = report.verdict is Verdict.PASSED
    reason = "not_asked_for" if passed else f"gate_{report.verdict}"
    outcome = {"alias": order.alias, "moved": False, "reason": reason}
    if not (passed and order.auto_promote):
        return outcome
    try:
        version.require_clean()
        _require_promoter(work, job, platform.clock())
    except errors.PerennialError as refusal:
        return outcome | {"reason": refusal.code}
    alias = work[Aliases].find(version.model, order.alias)
    stale = outcome | {"reason": errors.StaleBase().code, "alias_version": alias and alias.version}
    if alias is None or alias.version != version.parent:
        return stale
    if obstacle := _obstacle(work, version, order.alias):
        return outcome | obstacle
    try:
        moved = point_alias(
            work,
            alias,
            name=order.alias,
            to=version,
            kind=MoveKind.PROMOTED,
            reason="passed the gate",
            verdict=Verdict.PASSED,
            actor=f"job {job.id}",
            now=platform.clock(),
        )
    except errors.StaleRevision:  # it moved just now
        return stale | {"alias_version": work[Aliases].get(version.model, order.alias).version}
    return outcome | {"moved": True, "reason": "passed", "revision": moved.revision}


def _obstacle(work: Work, version: Version, alias: str) -> dict[str, Any]:
    """Return why the verdicts do not let a version go live by itself; empty if they do."""
    verdicts = work[Verdicts].on(version.model, version.number)
    now = promotion_requirements(work, version, alias)
    deciding = now.deciding(verdicts)
    if deciding is None:
        return {"reason": errors.EvaluationStale().code, **now.missing_from(verdicts)}
    passed = deciding.verdict is Verdict.PASSED
    return {} if passed else {"reason": f"gate_{deciding.verdict}"}


def _require_promoter(work: Work, job: Job, now: datetime) -> None:
    """Raise KeyNotLive or Forbidden if the key that ordered a job allows no moves of aliases now.

    Tokens last for less than an update: what a token ordered stays ordered.
    """
    try:
        key = work[Keys].get(job.ordered_by or "")
    except errors.KeyNotFound:
        return
    key.require_live(now)
    holder = holder_of(key)
    holder.require(Role.OPERATOR)
    if not (holder.models is None or job.model in holder.models):
        raise errors.Forbidden


# The event that webhooks receive.


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
