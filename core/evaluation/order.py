"""Request that a version be scored again."""

from core.database.work import Work
from core.errors import FieldInvalid
from core.jobs.needs import require_scorable
from core.jobs.orders import EvaluateOrder, JobType
from core.jobs.queue import JobRequest, order_for_model
from core.jobs.rules import Job, JobNotifier
from core.platform import Platform
from core.registry.alias_rows import Aliases
from core.registry.aliases import PRODUCTION
from core.registry.read import ancestors
from core.registry.version_rows import Versions
from core.registry.versions import Model


def order_evaluation(
    platform: Platform,
    notifier: JobNotifier,
    request: JobRequest,
    *,
    model: str,
    version: int,
    alias: str = PRODUCTION,
) -> Job:
    """Request that a version be scored on the model's current suites, under its current policy.

    It is also compared with what is live as `alias`, if that does not descend from it. Raises
    VersionNotFound, AliasNotFound, FieldInvalid for a root, and ArtifactGone when its own weights
    are gone, or those of a version that it would be compared with.
    """
    order = EvaluateOrder(version=version, alias=alias)

    def prepare(work: Work, found: Model) -> EvaluateOrder:
        preflight_evaluation(work, found, order)
        return order

    return order_for_model(platform, notifier, request, JobType.EVALUATE, prepare, model=model)


def preflight_evaluation(work: Work, model: Model, order: EvaluateOrder) -> None:
    """Raise VersionNotFound, AliasNotFound, FieldInvalid or ArtifactGone unless it can be scored.

    The version and its parent are locked, in the order in which garbage collection locks versions,
    so that their weights cannot be deleted from now on.
    """
    subject = work[Versions].get(model.id, order.version)
    if subject.parent is None:
        raise FieldInvalid(
            "A root version cannot be evaluated: it has no parent to be compared with.",
            pointer="/version",
        )
    parent = work[Versions].get(model.id, subject.parent, lock=True)
    work[Versions].get(model.id, subject.number, lock=True).require_weights()
    require_scorable((*ancestors(work, parent), parent))
    if order.alias != PRODUCTION:  # a typing error would compare with nothing
        work[Aliases].get(model.id, order.alias, keep=True)
