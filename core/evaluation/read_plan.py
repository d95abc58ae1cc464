"""Read the plan of an evaluation from the rows: which version must answer which query."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from core import errors
from core.artifacts.store import Artifacts
from core.database.work import Work
from core.datasets.rows import Datasets
from core.datasets.rules import Suite
from core.datasets.version_rows import Suites
from core.evaluation.holdouts import HeldOutUpdate
from core.evaluation.plan import EvaluationPlan, LiveLineage, plan_queries
from core.evaluation.report import Report
from core.evaluation.rows import AnswerCache
from core.evaluation.stored_answers import read_suite
from core.gate.rows import Policies
from core.jobs.orders import CandidateOrder, EvaluateOrder
from core.jobs.rows import Jobs
from core.jobs.rules import Job, model_of
from core.platform import Platform
from core.registry.inheritance import inheritance, is_ancestor, lost_updates, with_repetitions
from core.registry.promote import failure_of
from core.registry.read import (
    added_images,
    ancestors,
    captions_held_out_of,
    holdouts_of,
    read_added,
    read_json,
)
from core.registry.requirements import let_live, live_version
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version
from core.values import JobId


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
        taught = [work[Datasets].version(one.dataset, one.version) for one in candidate.taught]
        near = sum(one.near_duplicates for one in taught)
    return plan, _previous(artifacts, line[-1]), near


def _live_line(
    work: Work, artifacts: Artifacts, model: Model, job: Job, candidate: Version
) -> LiveLineage | None:
    """Return the live version that the candidate would replace, with what that inherits.

    None if it descends from the candidate, which cannot know what was learned later.
    """
    if not isinstance(job.order, CandidateOrder | EvaluateOrder):
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
    settled = _settled(work, model, versions)
    if added is None:
        added = added_images(work, model.id)
    return [
        HeldOutUpdate(
            version=version,
            holdout=holdout,
            captions=captions,
            passed=version.number in settled,
            more=read_added(work, artifacts, added, version),
            added=added[version.number].id if version.number in added else None,
        )
        for version, holdout, captions in zip(
            versions,
            holdouts_of(work, artifacts, versions),
            captions_held_out_of(work, artifacts, versions),
            strict=True,
        )
    ]


def _settled(work: Work, model: Model, versions: Sequence[Version]) -> set[int]:
    """Return which of some versions a passing verdict let go live, or are repetitions of such.

    A repetition without erased images goes live by no verdict of its own as a rule; one that has
    failed beside its parent is none of these, as losses would count from what the gate refused.
    """
    passed = let_live(work, model)
    repeated = with_repetitions(passed, work[Versions].descents(model.id))
    return {
        one.number
        for one in versions
        if one.number in passed or (one.number in repeated and failure_of(work, model, one) is None)
    }


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
