"""Order a job of a model."""

from collections.abc import Callable, Mapping

from core.domain.jobs.job import Job
from core.domain.jobs.order import JobType, Order
from core.domain.registry.version import Model
from core.ports import JobNotifier, Platform, UnitOfWork
from core.use_cases.jobs.queue import JobRequest, enqueue, find_replayed, notify_workers
from core.use_cases.jobs.waiting import require_queue_room


def order_for_model(
    platform: Platform,
    notifier: JobNotifier,
    request: JobRequest,
    job_type: JobType,
    prepare: Callable[[UnitOfWork, Model], Order],
    *,
    model: str,
    lane: Callable[[Model], str] | None = None,
    priority: int = 0,
    metadata: Mapping[str, str] | None = None,
) -> Job:
    """Queue a job of a model in one transaction, and tell workers; a repeated request adds none.

    `prepare` returns the order, or raises what would keep the job from starting. Raises
    ModelNotFound, TooManyJobs, and what `find_replayed` raises.
    """
    now = platform.clock()
    with platform.transactions() as work:
        if known := find_replayed(work, request):
            return known
        found = work.models.get(model)
        order = prepare(work, found)
        require_queue_room(platform.settings, work, request.principal, found)
        job = enqueue(
            work,
            request,
            found,
            job_type,
            order,
            now,
            lane=lane(found) if lane else None,
            priority=priority,
            metadata=metadata,
        )
        work.commit()
    notify_workers(notifier, job)
    return job
