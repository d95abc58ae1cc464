"""Order jobs, cancel them, try them again."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from core.domain.registry import PRODUCTION
from core.domain.update import (
    EvaluateOrder,
    ImportOrder,
    Job,
    JobStatus,
    JobType,
    Order,
    UpdateOrder,
)
from core.domain.values import Digest, JobId, ModelId, PolicyId, clean_name, new_id
from core.domain.version import Model
from core.errors import Conflict, IdempotencyMismatch, NameTaken
from core.ports import Doorbell, IdempotentReply, Platform, UnitOfWork
from core.use_cases.bases import require_known_base
from core.use_cases.imports import failed_import, require_no_root
from core.use_cases.startable import require_evaluable, startable

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Request:
    """Who asks, and the Idempotency-Key with the body's hash, if one was sent."""

    actor: str
    key: str | None = None
    body: Digest | None = None


def create_model(
    platform: Platform,
    doorbell: Doorbell,
    request: Request,
    *,
    name: str,
    base: str,
    suites: tuple[str, ...] = (),
    policy: str = "default",
) -> Job:
    """Register a model and order the import of its root.

    A model whose import did not succeed is made anew. Raises NameTaken, BaseUnknown or
    ModelNotTrainable.
    """
    require_known_base(platform.settings, base)
    now = platform.clock()
    with platform.transactions() as work:
        if known := replayed(work, request):
            return known
        model = Model(
            id=ModelId(new_id("model", now)),
            name=clean_name(name),
            suites=tuple(dict.fromkeys(work.suites.get(suite).id for suite in suites)),
            policy=PolicyId(work.policies.get(policy).id),
            created_at=now,
        )
        model = _register(work, model)
        job = place(work, request, model, JobType.IMPORT, ImportOrder(base=base), now)
        work.commit()
    announce(doorbell, job)
    return job


def _register(work: UnitOfWork, model: Model) -> Model:
    """Return the model as it is stored. Raises NameTaken."""
    try:
        work.models.add(model)
    except NameTaken:
        present = work.models.get(model.name)
        work.models.set_suites(present.id, model.suites)  # locks it: another may be at it too
        work.models.set_policy(present.id, model.policy)
        if failed_import(work, present) is None:
            raise
        return work.models.get(present.id)
    return model


def order_update(
    platform: Platform,
    doorbell: Doorbell,
    request: Request,
    *,
    model: str,
    order: UpdateOrder,
    priority: int = 0,
    metadata: Mapping[str, str] | None = None,
) -> Job:
    """Order an update. Whatever would keep it from starting is an error here and now.

    Raises DatasetNotFound or DatasetVersionNotFound, FieldInvalid for a captioned dataset, and
    what `require_startable` raises.
    """
    now = platform.clock()
    with platform.transactions() as work:
        if known := replayed(work, request):
            return known
        found = work.models.get(model)
        job = place(
            work,
            request,
            found,
            JobType.UPDATE,
            startable(work, platform.artifacts, found, order),
            now,
            priority=priority,
            metadata=metadata,
        )
        work.commit()
    announce(doorbell, job)
    return job


def order_evaluation(
    platform: Platform,
    doorbell: Doorbell,
    request: Request,
    *,
    model: str,
    version: int,
    alias: str = PRODUCTION,
    priority: int = 0,
) -> Job:
    """Order that a version be scored on the model's present suites, by its present policy.

    It is also compared with what is live as `alias`, if it does not descend from that. Raises
    VersionNotFound, AliasNotFound, FieldInvalid for a root, and ArtifactGone when its own weights
    are gone, or those of a version that it would be compared with.
    """
    now = platform.clock()
    with platform.transactions() as work:
        if known := replayed(work, request):
            return known
        found = work.models.get(model)
        order = EvaluateOrder(version=version, alias=alias)
        require_evaluable(work, found, order)
        if alias != PRODUCTION:  # a typing error would compare with nothing
            work.aliases.get(found.id, alias)
        job = place(work, request, found, JobType.EVALUATE, order, now, priority=priority)
        work.commit()
    announce(doorbell, job)
    return job


def cancel_job(platform: Platform, job: JobId) -> Job:
    """Cancel a queued job at once, a running one at its next step. Raises JobFinished."""
    now = platform.clock()
    with platform.transactions() as work:
        found = work.jobs.get(job, lock=True)
        cancelled = found.cancel(now)
        work.jobs.cancel(cancelled, found.status)
        work.jobs.add_event(job, cancelled.status.value, {}, now)
        work.commit()
    return cancelled


def retry_job(platform: Platform, doorbell: Doorbell, request: Request, job: JobId) -> Job:
    """Order again what an ended job was to do; a new job that names the old one.

    Raises Conflict unless it has failed or was cancelled, and for the import of a model that has
    its root; and what `order_update` and `order_evaluation` raise.
    """
    now = platform.clock()
    with platform.transactions() as work:
        if known := replayed(work, request):
            return known
        found = work.jobs.get(job)
        if found.status not in {JobStatus.FAILED, JobStatus.CANCELLED}:
            raise Conflict("Only a failed or cancelled job can be retried.")
        model = work.models.get(found.model)
        match found.order:
            case ImportOrder():
                require_no_root(work, model.id)
            case UpdateOrder():
                startable(work, platform.artifacts, model, found.order)
            case EvaluateOrder():
                require_evaluable(work, model, found.order)
        again = place(
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
    announce(doorbell, again)
    return again


def announce(doorbell: Doorbell, job: Job) -> None:
    """Say of a job that has been committed that it waits."""
    log.info("job queued", extra={"job": job.id, "type": job.type.value})
    doorbell.ring(job.id, job.type.queue)


def replayed(work: UnitOfWork, request: Request) -> Job | None:
    """The job that this Idempotency-Key already made, if any. Raises IdempotencyMismatch."""
    if request.key is None or request.body is None:
        return None
    reply = work.idempotency.find(request.actor, request.key)
    if reply is None:
        return None
    if reply.body != request.body:
        raise IdempotencyMismatch
    return work.jobs.get(reply.job)


def place(
    work: UnitOfWork,
    request: Request,
    model: Model,
    job_type: JobType,
    order: Order,
    now: datetime,
    *,
    priority: int = 0,
    metadata: Mapping[str, str] | None = None,
    retry_of: JobId | None = None,
) -> Job:
    """Queue a job, within a transaction, and remember the Idempotency-Key it answers.

    What is trained or scored is judged by the model's suites and policy as they are now.
    """
    judged = job_type is not JobType.IMPORT
    job = Job(
        id=JobId(new_id("job", now)),
        type=job_type,
        model=model.id,
        order=order,
        priority=priority,
        suites=model.suites if judged else None,
        policy=model.policy if judged else None,
        metadata=metadata or {},
        retry_of=retry_of,
        created_at=now,
    )
    work.jobs.add(job)
    work.jobs.add_event(job.id, "queued", {}, now)
    if request.key is not None and request.body is not None:
        work.idempotency.add(
            IdempotentReply(
                actor=request.actor,
                key=request.key,
                body=request.body,
                job=job.id,
                created_at=now,
            )
        )
    return job
