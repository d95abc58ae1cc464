"""Order the updates and conversions that repeat marked versions without what was erased."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from core.database.work import Work
from core.datasets.manifests import MIN_TRAIN_PER_CLASS
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetRef
from core.erasure.rules import Erasure, Exposure, newest, to_retrain
from core.errors import (
    ArtifactGone,
    JobFinished,
    ParentNotRetrained,
    TooFewPerClass,
    TrainedElsewhere,
)
from core.jobs.orders import CandidateOrder, ConvertOrder, JobType, UpdateOrder, replaced_by
from core.jobs.queue import JobRequest, cancel, enqueue, unfinished_jobs
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobStatus
from core.principal import Principal, Role
from core.registry.alias_rows import Aliases
from core.registry.aliases import PRODUCTION
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version

PRIORITY = 9  # as high as can be asked for: later orders come after, and other models get turns


def order_retraining(
    work: Work,
    erasure: Erasure,
    model: Model,
    versions: Sequence[Version],
    found: Mapping[int, Exposure],
    now: datetime,
) -> dict[int, str | None]:
    """Queue a job for each marked version of a model that is to be trained again, in order.

    Each repeats the order of the version that it replaces: recipe with its seed, prompt or
    precision, and the suites that were pinned with it. Returns their numbers, with the code of what
    keeps one from being ordered, if anything does. What an earlier erasure has queued for such a
    version, and no worker has claimed, is cancelled.
    """
    live = [alias.version for alias in work[Aliases].all(model.id)]
    unfinished = list(unfinished_jobs(work, model.id))
    waiting = {replaced_by(job.order) for job in unfinished}
    before = {version.number for version in versions if version.erasure is not None}
    lacking = found.keys() | (before - waiting)
    wanted = to_retrain(versions, found, live=live, wanted=erasure.retraining)
    ordered: dict[int, str | None] = {
        version.number: TrainedElsewhere().code
        for version in wanted
        if not _was_made_here(work, version)
    }
    wanted = [version for version in wanted if version.number not in ordered]
    parents = {version.number: newest(version.parent or 0, versions) for version in wanted}
    gone = _without_weights(work, model, set(parents.values()) - lacking)
    for version in wanted:
        parent = parents[version.number]
        if parent in gone:
            ordered[version.number] = ArtifactGone().code
            continue
        if parent in lacking and ordered.get(parent, "") is not None:
            ordered[version.number] = ParentNotRetrained().code
            continue
        order = _repetition(work, version)
        if order is None:
            ordered[version.number] = TooFewPerClass().code
            continue
        for job in unfinished:
            if job.status is JobStatus.QUEUED and replaced_by(job.order) == version.number:
                _supersede(work, erasure, job, now)
        _enqueue(work, erasure, model, version, order, now)
        ordered[version.number] = None
    return ordered


def _without_weights(work: Work, model: Model, numbers: Iterable[int]) -> set[int]:
    """Return the versions whose weights were deleted; those of the others stay from now on."""
    found = [work[Versions].get(model.id, number, lock=True) for number in sorted(numbers)]
    return {version.number for version in found if version.collected_at is not None}


def _supersede(work: Work, erasure: Erasure, job: Job, now: datetime) -> None:
    """Cancel a queued update that another one is ordered in place of, unless it was claimed."""
    with suppress(JobFinished):
        reason = f"erasure {erasure.id} orders it anew"
        cancel(work, job, now, reason=reason, actor=erasure.actor)


def _was_made_here(work: Work, version: Version) -> bool:
    order = work[Jobs].get(version.job).order
    return version.data is not None or isinstance(order, ConvertOrder)


def on_remaining_images(work: Work, order: UpdateOrder) -> UpdateOrder:
    """Return the order of a repetition on what later erasures have left of its images."""
    data = work[Datasets].remaining(
        DatasetRef(dataset=order.dataset, version=order.dataset_version)
    )
    number = data.number if data is not None else order.dataset_version
    return replace(
        order,
        dataset_version=number,
        captions=_current(work, order.captions),
        reference=_current(work, order.reference),
    )


def _enqueue(
    work: Work,
    erasure: Erasure,
    model: Model,
    version: Version,
    order: CandidateOrder,
    now: datetime,
) -> None:
    principal = Principal(name=erasure.actor, role=Role.ADMIN)
    enqueue(
        work,
        JobRequest(principal=principal, priority=PRIORITY, metadata={"erasure": erasure.id}),
        model,
        JobType.CONVERT if isinstance(order, ConvertOrder) else JobType.UPDATE,
        order,
        now,
        suites=work[Jobs].get(version.job).suites,
    )


def _repetition(work: Work, version: Version) -> CandidateOrder | None:
    """Return the order that repeats how a version was made; None if too few images are left."""
    made = work[Jobs].get(version.job).order
    alias = made.alias if isinstance(made, CandidateOrder) else PRODUCTION
    again: dict[str, Any] = {"alias": alias, "auto_promote": False, "replaces": version.number}
    if version.data is None or version.recipe is None:
        return ConvertOrder(precision=version.precision, **again)
    data = work[Datasets].remaining(version.data)
    if data is None or any(one["train"] < MIN_TRAIN_PER_CLASS for one in data.counts.values()):
        return None
    return UpdateOrder(
        dataset=data.dataset,
        dataset_version=data.number,
        recipe=version.recipe,
        prompt=version.prompt.text if version.update_classes else None,
        captions=_current(work, version.captions),
        reference=_current(work, version.reference),
        **again,
    )


def _current(work: Work, named: DatasetRef | None) -> DatasetRef | None:
    if named is None:
        return None
    current = work[Datasets].remaining(named)
    if current is None:
        return named
    return DatasetRef(dataset=current.dataset, version=current.number)
