"""Order an update."""

from collections.abc import Mapping

from core.domain.jobs.job import Job
from core.domain.jobs.order import JobType, UpdateOrder
from core.ports import JobNotifier, Platform
from core.use_cases.jobs.queue import JobRequest, announce, enqueue, find_replayed
from core.use_cases.jobs.waiting import require_place
from core.use_cases.training.preflight import preflight_order


def order_update(
    platform: Platform,
    notifier: JobNotifier,
    request: JobRequest,
    *,
    model: str,
    order: UpdateOrder,
    priority: int = 0,
    metadata: Mapping[str, str] | None = None,
) -> Job:
    """Request an update. Whatever would keep it from starting is raised as an error here.

    Raises DatasetNotFound or DatasetVersionNotFound, FieldInvalid for a captioned dataset, and
    what `require_startable` raises.
    """
    now = platform.clock()
    with platform.transactions() as work:
        if known := find_replayed(work, request):
            return known
        found = work.models.get(model)
        order = preflight_order(work, platform.artifacts, found, order)
        require_place(platform.settings, work, request.principal, found)
        job = enqueue(
            work,
            request,
            found,
            JobType.UPDATE,
            order,
            now,
            priority=priority,
            metadata=metadata,
        )
        work.commit()
    announce(notifier, job)
    return job
