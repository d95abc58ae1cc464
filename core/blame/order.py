"""Order a blame: a search for the images that cost a class its accuracy."""

from core.bases.bases import require_trainable_version
from core.blame.plan import plan_blame
from core.database.work import Work
from core.jobs.orders import BlameOrder, JobType
from core.jobs.queue import JobRequest, find_replayed, order_for_model
from core.jobs.rules import Job, JobNotifier
from core.platform import Platform
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version
from core.training.order import require_replayable
from core.training.update_model import spec_of


def order_blame(
    platform: Platform,
    notifier: JobNotifier,
    request: JobRequest,
    *,
    model: str,
    order: BlameOrder,
) -> Job:
    """Request that a version's update be trained again without each of some groups of its images.

    Whatever would keep it from starting is raised here: ModelNotFound, ArtifactGone,
    ModelNotTrainable, and what `plan_blame` and `spec_of` raise.
    """
    with platform.transactions(read_only=True) as work:
        if known := find_replayed(work, request):
            return known
        found = work[Models].get(model)
    preflight_blame(platform, found, order)

    def prepare(work: Work, again: Model) -> BlameOrder:
        keep_versions(work, again, order)
        return order

    return order_for_model(platform, notifier, request, JobType.BLAME, prepare, model=found.id)


def preflight_blame(platform: Platform, model: Model, order: BlameOrder) -> None:
    """Raise what would keep a blame from starting, before the transaction that orders it.

    That reads every manifest and all answers that the blame needs, with nothing locked.
    """
    plan = plan_blame(platform, model, order)
    recipe, line = plan.inputs.order.recipe, plan.inputs.line
    for version in {line[0].number: line[0], line[-1].number: line[-1]}.values():
        version.require_weights()
    require_trainable_version(platform.artifacts, plan.parent.digest, recipe)
    require_replayable(platform.artifacts, line, recipe)
    spec_of(platform, plan.inputs)


def keep_versions(work: Work, model: Model, order: BlameOrder) -> Version:
    """Return a version's parent, and lock both, so that nothing of them is deleted from now on.

    Raises VersionNotFound, LearnedErasedImages, or ArtifactGone without the parent's weights.
    """
    number = work[Versions].get(model.id, order.version).parent
    if number is None:
        raise TypeError(f"version {order.version} is a root")
    parent = work[Versions].get(model.id, number, lock=True)
    parent.require_weights()
    work[Versions].get(model.id, order.version, lock=True).require_clean()
    return parent
