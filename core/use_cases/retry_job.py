"""Retry a failed or cancelled job as a new job."""

from core.domain.jobs.job import Job, JobStatus, model_of
from core.domain.jobs.order import EvaluateOrder, ImportOrder, UpdateOrder
from core.domain.values import JobId
from core.errors import Conflict
from core.ports import JobNotifier, Platform
from core.use_cases.evaluation.order_evaluation import preflight_evaluation
from core.use_cases.jobs.queue import JobRequest, announce, enqueue, find_replayed
from core.use_cases.registry.import_outcome import require_no_root
from core.use_cases.training.preflight import preflight_order


def retry_job(platform: Platform, notifier: JobNotifier, request: JobRequest, job: JobId) -> Job:
    """Queue a new job with the order of an ended one, which it names.

    Raises Conflict unless it has failed or was cancelled, and for the import of a model that has
    its root; and what `order_update` and `order_evaluation` raise.
    """
    now = platform.clock()
    with platform.transactions() as work:
        if known := find_replayed(work, request):
            return known
        found = work.jobs.get(job)
        if found.status not in {JobStatus.FAILED, JobStatus.CANCELLED}:
            raise Conflict("Only a failed or cancelled job can be retried.")
        model = work.models.get(model_of(found))
        match found.order:
            case ImportOrder():
                require_no_root(work, model.id)
            case UpdateOrder():
                preflight_order(work, platform.artifacts, model, found.order)
            case EvaluateOrder():
                preflight_evaluation(work, model, found.order)
        again = enqueue(
            work,
            request,
            model,
            found.type,
            found.order,
            now,
            priority=found.priority,
            metadata=found.metadata,
            retry_of=job,
        )
        work.commit()
    announce(notifier, again)
    return again
