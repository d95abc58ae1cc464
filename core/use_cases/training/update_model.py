"""Train a candidate version."""

from core.domain.jobs.event import EventKind
from core.domain.jobs.job import Job
from core.domain.jobs.order import UpdateOrder
from core.domain.registry.version import Version
from core.errors import ArtifactMissing, ImageErased
from core.ports import Monitor, Platform, Trainer, TrainingSpec, UnitOfWork
from core.use_cases.training.slow_precision import warn_if_slow
from core.use_cases.training.training_spec import UpdateInputs, pin_inputs, spec_of


def update_model(
    platform: Platform, trainer: Trainer, job: Job, order: UpdateOrder, monitor: Monitor
) -> int:
    """Train with no transaction open and commit the candidate; its version number.

    A resumed job that has committed its candidate already goes on from there. Raises what
    `pin_inputs`, `spec_of` and the trainer raise, and ImageErased or LearnedErasedImages when
    something that it has learned from was erased meanwhile.
    """
    if job.version is not None:
        return job.version
    native = trainer.native_precisions()
    with platform.transactions() as work:
        inputs = pin_inputs(work, job, order, native=native)
        work.commit()
    recipe = inputs.order.recipe
    warn_if_slow(recipe.precision, native, monitor)
    spec = spec_of(platform, inputs)
    try:
        trained = trainer.train(spec, resume=job.checkpoint, monitor=monitor)
    except ArtifactMissing:
        with platform.transactions(read_only=True) as work:
            _require_unerased(work, inputs, spec)
        raise
    now = platform.clock()
    with platform.transactions() as work:
        work.datasets.version(order.dataset, order.dataset_version, keep=True)
        number = work.versions.next_number(inputs.model.id)
        _require_unerased(work, inputs, spec)
        candidate = Version(
            model=inputs.model.id,
            number=number,
            digest=trained.weights.digest,
            size=trained.weights.size,
            parent=inputs.parent.number,
            job=job.id,
            recipe=recipe,
            dataset=order.dataset,
            dataset_version=order.dataset_version,
            update_classes=inputs.data.classes,
            classes=inputs.classes,
            prompt=inputs.prompt,
            environment=trained.environments[-1],
            environments=trained.environments,
            reference=order.reference,
            notes=dict(trained.notes),
            feature_statistics=dict(trained.feature_statistics),
            replaces=order.replaces,
            created_at=now,
        )
        work.versions.add(candidate)
        checkpoint = work.jobs.get(job.id).checkpoint
        work.jobs.set_version(job.id, job.fence, candidate.number)
        work.jobs.add_event(job.id, EventKind.CANDIDATE, {"version": candidate.number}, now)
        work.commit()
    if checkpoint is not None:
        platform.artifacts.delete(checkpoint)
    return candidate.number


def _require_unerased(work: UnitOfWork, inputs: UpdateInputs, spec: TrainingSpec) -> None:
    """Raise unless everything is still there that the weights depend on.

    A transaction that makes a version has its number: an erasure locks the models before it marks
    versions, so one of the two sees what the other has written.
    """
    work.versions.get(inputs.model.id, inputs.parent.number).require_clean()
    if erased := work.erasures.erased(spec.pixels):
        raise ImageErased(
            "An image was erased while the update learned from it.", pixels=sorted(erased)[:20]
        )
