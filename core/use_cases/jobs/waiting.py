"""The limits on jobs that wait."""

from collections.abc import Iterator

from core.domain.access.principal import Principal
from core.domain.registry.version import Model
from core.domain.values import counted
from core.errors import TooManyJobs
from core.ports import UnitOfWork
from core.settings import Settings

RETRY_AFTER_S = 60  # a job takes minutes


def require_queue_room(
    settings: Settings, work: UnitOfWork, principal: Principal, model: Model | None
) -> None:
    """Raise TooManyJobs if as many jobs of the model, or of the principal, wait as may wait.

    Erasures, and the updates that they order, do not ask: what is to be erased is not put off.
    """
    for who_has, limit, waiting in _counts(settings, work, principal, model):
        if waiting >= limit:
            raise TooManyJobs(
                f"{who_has} {counted(waiting, 'job')} waiting, of at most {limit:,}: "
                "order again when some of them have started.",
                waiting=waiting,
                limit=limit,
                retry_after_s=RETRY_AFTER_S,
            )


def _counts(
    settings: Settings, work: UnitOfWork, principal: Principal, model: Model | None
) -> Iterator[tuple[str, int, int]]:
    """Yield whose jobs are limited, to how many, and how many there are."""
    if model is not None and (limit := settings.max_waiting_per_model):
        yield f"The model {model.name} has", limit, work.jobs.waiting(model=model.id)
    if limit := settings.max_waiting_per_key:
        yield "You have", limit, work.jobs.waiting(ordered_by=principal.id)
