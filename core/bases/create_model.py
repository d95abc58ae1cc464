"""Register a model, order the import of its root, and make the root."""

from typing import Protocol

from core.audit import record as audit
from core.audit.rules import Action
from core.bases.bases import require_known_base
from core.database.work import Work
from core.datasets.version_rows import Suites
from core.engines.compiler import Compiler
from core.errors import Conflict, ImportFailed, NameTaken
from core.gate.rows import Policies
from core.jobs.orders import ImportOrder, JobType, require_to_order
from core.jobs.queue import JobRequest, enqueue, find_replayed, notify_workers, require_queue_room
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobNotifier, JobStatus, Monitor, model_of
from core.platform import Platform
from core.recipes.fields import PromptTemplate
from core.registry.aliases import PRODUCTION, MoveKind
from core.registry.default_recipe import default_recipe
from core.registry.marks import Marks
from core.registry.promote import point_alias
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version, VersionStatus, Weights
from core.values import ModelId, PolicyId, clean_name, new_id


class Importer(Protocol):
    def load(self, base: str, monitor: Monitor) -> tuple[Weights, str]:
        """Store a base as fp32 weights; return these and its default prompt template.

        Raises BaseUnknown.
        """


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
    to other models, NameTaken, BaseUnknown, ModelNotTrainable, SuiteNotFound or SuiteRetired.
    """
    order = ImportOrder(base=base)
    require_to_order(request.principal, JobType.IMPORT, order)
    require_known_base(platform.settings, base)
    now = platform.clock()
    with platform.transactions() as work:
        if known := find_replayed(work, request):
            return known
        model = Model(
            id=ModelId(new_id("model", now)),
            name=clean_name(name),
            suites=work[Suites].chosen(suites),
            policy=PolicyId(work[Policies].get(policy).id),
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
        job = enqueue(work, request, model, JobType.IMPORT, order, now)
        work.commit()
    notify_workers(notifier, job)
    return job


def _register(work: Work, model: Model) -> Model:
    """Return the model as it is stored. Raises NameTaken."""
    try:
        work[Models].add(model)
    except NameTaken:
        present = work[Models].get(model.name)
        work[Models].set_suites(present.id, model.suites)  # locks it: another may be at it too
        work[Models].set_policy(present.id, model.policy)
        if failed_import(work, present) is None:
            raise
        return work[Models].get(present.id)
    return model


def import_model(
    platform: Platform,
    importer: Importer,
    compiler: Compiler,
    job: Job,
    order: ImportOrder,
    monitor: Monitor,
) -> None:
    """Load the base, compile it, and in one transaction make it version 1 and `production`.

    The model has its default recipe from then on.

    Raises Conflict when another import has made the root, as an import may be retried twice, or
    LearnedErasedImages.
    """
    model = model_of(job)
    with platform.transactions(read_only=True) as work:
        require_no_root(work, model)
    weights, prompt = importer.load(order.base, monitor)
    compiler.compile(weights.digest, monitor)
    now = platform.clock()
    with platform.transactions() as work:
        work[Models].lock_all()  # as an erasure does, so that one sees what the other has written
        work[Marks].require_none([weights.digest], "The weights of the base")
        root = Version(
            model=model,
            number=work[Versions].next_number(model),
            status=VersionStatus.PROMOTED,
            digest=weights.digest,
            size=weights.size,
            job=job.id,
            prompt=PromptTemplate(prompt),
            created_at=now,
        )
        work[Versions].add(root)
        sized = default_recipe(weights.config["model_cfg"], weights.tower_parameters)
        work[Models].set_sized_recipe(model, sized)
        point_alias(
            work,
            None,
            name=PRODUCTION,
            to=root,
            kind=MoveKind.CREATED,
            reason=f"imported from {order.base}",
            actor=f"job {job.id}",
            now=now,
        )
        result = {"version": root.number, "report": None, "verdict": None}
        work[Jobs].finish(job.succeed(result, now), job.fence)
        work.commit()


# The state of the import of a model's root.

UNFINISHED = tuple(status for status in JobStatus if not status.done)


def failed_import(work: Work, model: Model) -> Job | None:
    """Return the last import of a model that has no root and none on its way, else None.

    Such a model can be created again, or its import can be retried.
    """
    if work[Versions].page(model.id, 1, None):
        return None
    if any(_newest(work, model, status) for status in UNFINISHED):
        return None
    return _newest(work, model, None)


def require_import(work: Work, model: Model) -> None:
    """Raise ImportFailed for a model that has no root and will have none."""
    if job := failed_import(work, model):
        raise ImportFailed(
            f"The model {model.name} has no version because its import did not succeed: retry "
            f"job {job.id}, or create the model again.",
            model=model.name,
            job=job.id,
        )


def require_no_root(work: Work, model: ModelId) -> None:
    """Raise Conflict for a model that needs no import any more."""
    if work[Versions].page(model, 1, None):
        raise Conflict("The model already has its root version.")


def _newest(work: Work, model: Model, status: JobStatus | None) -> Job | None:
    found = work[Jobs].page(1, None, model=model.id, job_type=JobType.IMPORT, status=status)
    return found[0] if found else None
