"""Delete a model."""

from core.domain.access.audit import Action
from core.domain.in_use import require_unused
from core.domain.registry.version import Model
from core.ports import Platform
from core.use_cases.access import audit
from core.use_cases.jobs.unfinished import unfinished_jobs


def delete_model(platform: Platform, *, model: str) -> Model:
    """Delete a model with its versions, its aliases and their history, and its jobs; return it.

    Its name is free afterwards: only audit events are left that name it. Raises ModelNotFound, or
    InUse while it has an unfinished job.
    """
    with platform.transactions() as work:
        found = work.models.get(model)
        work.models.lock(found.id)
        jobs = [job.id for job in unfinished_jobs(work, found.id)]
        require_unused(f"The model {found.name!r}", jobs=jobs)
        work.models.remove(found.id)
        audit.record(
            work,
            Action.MODEL_DELETED,
            f"models/{found.name}",
            now=platform.clock(),
            before={"id": found.id},
        )
        work.commit()
    return found
