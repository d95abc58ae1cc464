"""Train a candidate version."""

from core.domain.jobs.event import EventKind
from core.domain.jobs.job import Job
from core.domain.jobs.order import UpdateOrder
from core.domain.recipes.choices import Precision
from core.domain.registry.version import Version
from core.domain.values import Json
from core.ports import Monitor, Platform, Trainer
from core.use_cases.training.training_spec import pin_inputs, spec_of


def update_model(
    platform: Platform, trainer: Trainer, job: Job, order: UpdateOrder, monitor: Monitor
) -> int:
    """Train with no transaction open and commit the candidate; its version number.

    A resumed job that has committed its candidate already goes on from there. Raises what
    `pin`, `task_of` and the trainer raise.
    """
    if job.version is not None:
        return job.version
    native = trainer.native_precisions()
    with platform.transactions() as work:
        inputs = pin_inputs(work, job, order, native=native)
        work.commit()
    recipe = inputs.order.recipe
    if recipe.precision not in native:
        monitor.emit(EventKind.SLOW_PRECISION, _slow(recipe.precision))
    trained = trainer.train(spec_of(platform, inputs), resume=job.checkpoint, monitor=monitor)
    now = platform.clock()
    with platform.transactions() as work:
        candidate = Version(
            model=inputs.model.id,
            number=work.versions.next_number(inputs.model.id),
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


def _slow(precision: Precision) -> Json:
    """Return the event's data for a precision that the device has no instructions for."""
    return {
        "precision": precision,
        "explanation": (
            f"This worker's device has no {precision} instructions, so each step may take ten "
            "times as long as in fp32. Use precision 'auto' or 'fp32' to avoid this."
        ),
    }
