"""Plan the queries that evaluate a candidate."""

import json
from collections.abc import Iterable

from core.domain.evaluation.plan import EvaluationPlan
from core.domain.evaluation.plan_queries import (
    HeldOutUpdate,
    LiveLineage,
    ScoredSuite,
    plan_queries,
)
from core.domain.evaluation.report import Report
from core.domain.jobs.job import Job
from core.domain.jobs.order import EvaluateOrder, UpdateOrder
from core.domain.registry.version import Version
from core.errors import ArtifactCorrupt, ArtifactMissing, ReportUnreadable
from core.ports import Artifacts, Platform, UnitOfWork
from core.use_cases.datasets.manifests import read_remaining
from core.use_cases.registry.aliases.promotion_requirements import descends_from, lost_line
from core.use_cases.registry.lineage import ancestors, holdout_of
from core.use_cases.registry.model_suites import pinned_model, suites_of


def plan_evaluation(
    platform: Platform, job: Job, number: int
) -> tuple[EvaluationPlan, Report | None, int]:
    """Return the queries, the parent's report for the older matrix rows, and near-duplicates."""
    artifacts = platform.artifacts
    with platform.transactions(read_only=True) as work:
        model = pinned_model(work, job.id)
        candidate = work.versions.get(model.id, number)
        line = ancestors(work, candidate)
        own, *earlier = _updates(work, artifacts, (candidate, *line[1:]))
        plan = plan_queries(
            model=model,
            policy=work.policies.get(model.policy),
            candidate=own,
            parent=line[-1],
            root=line[0],
            earlier=earlier,
            suites=[
                ScoredSuite(suite=suite, manifest=read_remaining(work, artifacts, suite.manifest))
                for suite in suites_of(work, model)
            ],
            live=_live_line(work, artifacts, job, candidate),
        )
        near = 0
        if candidate.dataset is not None and candidate.dataset_version is not None:
            near = work.datasets.version(
                candidate.dataset, candidate.dataset_version
            ).near_duplicates
    return plan, _previous(artifacts, line[-1]), near


def _live_line(
    work: UnitOfWork, artifacts: Artifacts, job: Job, candidate: Version
) -> LiveLineage | None:
    """Return the live version's lineage if the candidate does not descend from it."""
    if not isinstance(job.order, UpdateOrder | EvaluateOrder):
        return None
    line = lost_line(work, candidate, job.order.alias)
    if not line or descends_from(line, candidate):
        return None
    return LiveLineage(version=line[-1], updates=tuple(_updates(work, artifacts, line)))


def _updates(
    work: UnitOfWork, artifacts: Artifacts, versions: Iterable[Version]
) -> list[HeldOutUpdate]:
    return [
        HeldOutUpdate(version=version, holdout=holdout_of(work, artifacts, version))
        for version in versions
    ]


def _previous(artifacts: Artifacts, parent: Version) -> Report | None:
    """Return the parent's report, if it can be read: it only fills in older cells of a table."""
    if parent.report is None:
        return None
    try:
        return Report.from_json(json.loads(artifacts.get(parent.report)))
    except (ArtifactMissing, ArtifactCorrupt, ReportUnreadable):
        return None
