"""Retry a failed or cancelled job as a new job."""

from dataclasses import replace

from core.bases.create_model import require_no_root
from core.blame.order import keep_versions, preflight_blame
from core.database.work import Work
from core.erasure.order import repeat_erasure
from core.erasure.retrain import on_remaining_images
from core.errors import Conflict
from core.evaluation.order import preflight_evaluation
from core.exports.make import preflight_export
from core.imports.order import enqueue_import, renew_archive
from core.jobs import orders
from core.jobs.queue import JobRequest, enqueue, find_replayed, notify_workers, require_queue_room
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobNotifier, JobStatus, model_of
from core.platform import Platform
from core.registry.marks import Marks
from core.registry.rows import Models
from core.training.convert import preflight_conversion
from core.training.order import preflight_order
from core.values import JobId
from core.vectors.compare_index import preflight_comparison
from core.vectors.reembed import preflight_reembedding


def retry_job(platform: Platform, notifier: JobNotifier, request: JobRequest, job: JobId) -> Job:
    """Queue a new job with the order of an ended one, which it names.

    Raises Forbidden for whoever could not order it; Conflict unless it has failed or was cancelled,
    and for the import of a model that has its root; and what `order_update`, `order_conversion`,
    `order_evaluation`, `order_blame` and `renew_archive` raise.
    """
    _prepare(platform, request, job)
    with platform.transactions() as work:
        if known := find_replayed(work, request):
            return known
        again = _enqueue(platform, work, request, _ended(work, job))
        work.commit()
    notify_workers(notifier, again)
    return again


def _prepare(platform: Platform, request: JobRequest, job: JobId) -> None:
    """Do before the transaction what reads much: renew an archive, check a blame."""
    with platform.transactions(read_only=True) as work:
        if find_replayed(work, request):
            return
        found = _ended(work, job)
        model = work[Models].get(found.model) if found.model else None
    if isinstance(found.order, orders.ImportImagesOrder | orders.ImportVersionOrder):
        renew_archive(platform.artifacts, found.order)
    if isinstance(found.order, orders.BlameOrder) and model is not None:
        preflight_blame(platform, model, found.order)


def _ended(work: Work, job: JobId) -> Job:
    found = work[Jobs].get(job)
    orders.require_to_order(work.principal, found.type, found.order)
    if found.status not in {JobStatus.FAILED, JobStatus.CANCELLED}:
        raise Conflict("Only a failed or cancelled job can be retried.")
    return found


def _enqueue(platform: Platform, work: Work, request: JobRequest, found: Job) -> Job:
    now, order = platform.clock(), found.order
    request = replace(request, priority=found.priority, metadata=found.metadata)
    if isinstance(order, orders.ImportImagesOrder):
        return enqueue_import(platform, work, request, order, now, retry_of=found.id)
    if isinstance(order, orders.EraseOrder):
        return repeat_erasure(work, request, order, now, found.id)
    model, suites = work[Models].get(model_of(found)), None
    match order:
        case orders.ImportOrder():
            require_no_root(work, model.id)
        case orders.UpdateOrder():
            if order.replaces is not None:  # it repeats another one, whose suites it has
                order, suites = on_remaining_images(work, order), found.suites
            preflight_order(platform, work, model, order)
        case orders.ConvertOrder():
            suites = found.suites if order.replaces is not None else None
            preflight_conversion(work, model, order)
        case orders.ImportVersionOrder():
            work[Marks].require_none([order.digest], "The version of the bundle")
        case orders.EvaluateOrder():
            preflight_evaluation(work, model, order)
        case orders.BlameOrder():
            keep_versions(work, model, order)
        case orders.ExportOrder():
            preflight_export(platform, work, model, order)
        case orders.CompareIndexOrder():
            preflight_comparison(platform, work, model, order)
        case orders.ReembedOrder():
            preflight_reembedding(platform, work, model, order)
    require_queue_room(platform.settings, work, request.principal, model)
    return enqueue(
        work,
        request,
        model,
        found.type,
        order,
        now,
        lane=found.lane,
        suites=suites,
        retry_of=found.id,
    )
