"""Score a candidate for forgetting and let the gate judge it."""

import json
from collections.abc import Sequence

from core.domain.answer_sheet import Given
from core.domain.examination import Examination, ScoredSuite, Update, plan
from core.domain.gate import Verdict
from core.domain.marking import mark
from core.domain.question import Answers, Question, answers_from_json, answers_to_json
from core.domain.registry import MoveKind, move
from core.domain.report import Report
from core.domain.update import Job, UpdateOrder
from core.domain.values import Digest, Json, canonical_json
from core.domain.version import Version
from core.errors import ArtifactCorrupt, ArtifactMissing, StaleBase, StaleRevision
from core.ports import Artifacts, Evaluator, Platform, UnitOfWork, Watch
from core.use_cases.lineage import ancestors, holdout_of
from core.use_cases.manifests import read_manifest
from core.use_cases.suites_of import suites_of


def evaluate_version(
    platform: Platform,
    evaluator: Evaluator,
    job: Job,
    number: int,
    watch: Watch,
    *,
    promote: UpdateOrder | None,
) -> None:
    """Ask, mark, judge; then report, verdict, promotion and the job's end in one transaction.

    `promote` is the update that may move its alias; None judges without moving anything.
    """
    examination, previous, near_duplicates = _examine(platform, job, number)
    answers = _answer(platform, evaluator, job, examination, watch)
    report = mark(
        examination,
        answers,
        previous=previous,
        judged_before=_judged_before(platform, examination),
        near_duplicates=near_duplicates,
    )
    stored = platform.artifacts.put(report.to_bytes())
    now = platform.clock()
    with platform.transactions() as work:
        version = work.versions.get(job.model, number, lock=True).judged(report.verdict, stored)
        work.versions.save(version)
        result = {"version": number, "report": stored, "verdict": report.verdict.value}
        if promote is not None:
            result["promotion"] = _promote_if_passed(platform, work, job, version, promote)
        work.jobs.finish(job.succeed(result, now), job.fence)
        work.jobs.add_event(job.id, "done", {"status": "succeeded", **result}, now)
        work.commit()


def _examine(platform: Platform, job: Job, number: int) -> tuple[Examination, Report | None, int]:
    """The questions, the parent's report for the older matrix rows, and near-duplicates."""
    artifacts = platform.artifacts
    with platform.transactions(read_only=True) as work:
        model = work.models.get(job.model)
        candidate = work.versions.get(job.model, number)
        line = ancestors(work, candidate)
        examination = plan(
            model=model,
            policy=work.policies.get(model.policy),
            candidate=Update(version=candidate, holdout=holdout_of(work, artifacts, candidate)),
            parent=line[-1],
            root=line[0],
            earlier=[
                Update(version=version, holdout=holdout_of(work, artifacts, version))
                for version in line[1:]
            ],
            suites=[
                ScoredSuite(suite=suite, manifest=read_manifest(artifacts, suite.manifest))
                for suite in suites_of(work, model)
            ],
        )
        near = 0
        if candidate.dataset is not None and candidate.dataset_version is not None:
            near = work.datasets.version(
                candidate.dataset, candidate.dataset_version
            ).near_duplicates
    before = _read(artifacts, line[-1].report) if line[-1].report else None
    return examination, Report.from_json(before) if before else None, near


def _answer(
    platform: Platform, evaluator: Evaluator, job: Job, examination: Examination, watch: Watch
) -> Given:
    """All answers; what a version was asked before is read back, not asked again."""
    answers: dict[tuple[Digest, Digest], Answers] = {}
    for version, questions in examination.questions:
        known = _recall(platform, version, questions)
        unknown = [question for question in questions if question.digest not in known]
        if unknown:
            version.require_weights()
            given = evaluator.answer(version.digest, unknown, watch)
            fresh = {q.digest: answer for q, answer in zip(unknown, given, strict=True)}
            _remember(platform, job, version, fresh)
            known |= fresh
        answers |= {(version.digest, question): answer for question, answer in known.items()}
    return answers


def _recall(
    platform: Platform, version: Version, questions: Sequence[Question]
) -> dict[Digest, Answers]:
    with platform.transactions(read_only=True) as work:
        found = {q.digest: work.answers.find(version.digest, q.digest) for q in questions}
    kept = {
        question: _read(platform.artifacts, artifact)
        for question, artifact in found.items()
        if artifact is not None
    }
    return {question: answers_from_json(value) for question, value in kept.items() if value}


def _read(artifacts: Artifacts, digest: Digest) -> Json | None:
    """A JSON object that can be done without, or made again, if its bytes are gone or damaged."""
    try:
        found: Json = json.loads(artifacts.get(digest))
    except (ArtifactMissing, ArtifactCorrupt):
        return None
    return found


def _remember(platform: Platform, job: Job, version: Version, fresh: dict[Digest, Answers]) -> None:
    """Keep answers for the next examination. Raises LeaseLost."""
    stored = {
        question: platform.artifacts.put(canonical_json(answers_to_json(answers)))
        for question, answers in fresh.items()
    }
    with platform.transactions() as work:
        work.jobs.status(job.id, job.fence)
        for question, artifact in stored.items():
            work.answers.add(version.digest, question, artifact)
        work.commit()


def _judged_before(platform: Platform, examination: Examination) -> int:
    """How many other versions have answered the suites' questions, as candidates or baselines."""
    asked = [exam.own.digest for exam in examination.zero_shot]
    asked += [exam.own.digest for exam in examination.retrieval]
    with platform.transactions(read_only=True) as work:
        counts = [work.answers.judged(question) for question in asked]
    others = {examination.candidate.digest, examination.root.digest}
    return max(0, max(counts, default=0) - len(others))


def _promote_if_passed(
    platform: Platform, work: UnitOfWork, job: Job, version: Version, order: UpdateOrder
) -> Json:
    """Move the alias if the gate passed, promotion was asked for and the alias has not moved."""
    outcome = {"alias": order.alias, "moved": False, "reason": f"gate_{version.verdict}"}
    if version.verdict is not Verdict.PASSED:
        return outcome
    if not order.auto_promote:
        return outcome | {"reason": "not_asked_for"}
    alias = work.aliases.find(job.model, order.alias)
    stale = outcome | {"reason": StaleBase().code, "alias_version": alias and alias.version}
    if alias is None or alias.version != version.parent:
        return stale
    moved, row = move(
        alias,
        model=job.model,
        name=order.alias,
        to=version,
        kind=MoveKind.PROMOTED,
        reason="passed the gate",
        actor=f"job {job.id}",
        expected_revision=alias.revision,
        now=platform.clock(),
    )
    try:
        work.aliases.move(moved, row)
    except StaleRevision:  # it moved just now
        return stale | {"alias_version": work.aliases.get(job.model, order.alias).version}
    work.versions.save(version.went_live())
    return outcome | {"moved": True, "reason": "passed", "revision": moved.revision}
