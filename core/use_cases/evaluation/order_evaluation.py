"""Request that a version be scored again."""

from core.domain.jobs.job import Job
from core.domain.jobs.order import EvaluateOrder, JobType
from core.domain.registry.alias import PRODUCTION
from core.domain.registry.retention import require_scorable
from core.domain.registry.version import Model
from core.errors import FieldInvalid
from core.ports import JobNotifier, Platform, UnitOfWork
from core.use_cases.jobs.queue import JobRequest, announce, enqueue, find_replayed
from core.use_cases.jobs.waiting import require_place
from core.use_cases.registry.lineage import ancestors


def order_evaluation(
    platform: Platform,
    notifier: JobNotifier,
    request: JobRequest,
    *,
    model: str,
    version: int,
    alias: str = PRODUCTION,
    priority: int = 0,
) -> Job:
    """Request that a version be scored on the model's current suites, under its current policy.

    It is also compared with what is live as `alias`, if it does not descend from that. Raises
    VersionNotFound, AliasNotFound, FieldInvalid for a root, and ArtifactGone when its own weights
    are gone, or those of a version that it would be compared with.
    """
    now = platform.clock()
    with platform.transactions() as work:
        if known := find_replayed(work, request):
            return known
        found = work.models.get(model)
        order = EvaluateOrder(version=version, alias=alias)
        preflight_evaluation(work, found, order)
        require_place(platform.settings, work, request.principal, found)
        job = enqueue(work, request, found, JobType.EVALUATE, order, now, priority=priority)
        work.commit()
    announce(notifier, job)
    return job


def preflight_evaluation(work: UnitOfWork, model: Model, order: EvaluateOrder) -> None:
    """Raise VersionNotFound, AliasNotFound, FieldInvalid or ArtifactGone unless it can be scored.

    The version and its parent are locked, in the order in which garbage collection locks versions,
    so that their weights cannot be deleted from now on.
    """
    subject = work.versions.get(model.id, order.version)
    if subject.parent is None:
        raise FieldInvalid(
            "A root version cannot be evaluated: it has no parent to be compared with.",
            pointer="/version",
        )
    parent = work.versions.get(model.id, subject.parent, lock=True)
    work.versions.get(model.id, subject.number, lock=True).require_weights()
    require_scorable((*ancestors(work, parent), parent))
    if order.alias != PRODUCTION:  # a typing error would compare with nothing
        work.aliases.get(model.id, order.alias, keep=True)
