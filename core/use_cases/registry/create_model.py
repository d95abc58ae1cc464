"""Register a model and order the import of its root."""

from core.domain.access.audit import Action
from core.domain.jobs.job import Job
from core.domain.jobs.order import ImportOrder, JobType
from core.domain.registry.version import Model
from core.domain.values import ModelId, PolicyId, clean_name, new_id
from core.errors import NameTaken
from core.ports import JobNotifier, Platform, UnitOfWork
from core.use_cases.access import audit
from core.use_cases.jobs.queue import JobRequest, enqueue, find_replayed, notify_workers
from core.use_cases.jobs.waiting import require_queue_room
from core.use_cases.registry.bases import require_known_base
from core.use_cases.registry.import_outcome import failed_import


def create_model(
    platform: Platform,
    notifier: JobNotifier,
    request: JobRequest,
    *,
    name: str,
    base: str,
    suites: tuple[str, ...] = (),
    policy: str = "default",
) -> Job:
    """Register a model and order the import of its root.

    A model whose import did not succeed is made anew. Raises Forbidden for a key that is limited
    to other models, NameTaken, BaseUnknown or ModelNotTrainable.
    """
    request.principal.require_every_model()
    require_known_base(platform.settings, base)
    now = platform.clock()
    with platform.transactions() as work:
        if known := find_replayed(work, request):
            return known
        model = Model(
            id=ModelId(new_id("model", now)),
            name=clean_name(name),
            suites=tuple(dict.fromkeys(work.suites.get(suite).id for suite in suites)),
            policy=PolicyId(work.policies.get(policy).id),
            created_at=now,
        )
        model = _register(work, model)
        audit.record(
            work,
            Action.MODEL_CREATED,
            f"models/{model.name}",
            now=now,
            after={"base": base, "suites": [*suites], "policy": policy},
            actor=request.principal.name,
        )
        require_queue_room(platform.settings, work, request.principal, model)
        job = enqueue(work, request, model, JobType.IMPORT, ImportOrder(base=base), now)
        work.commit()
    notify_workers(notifier, job)
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
