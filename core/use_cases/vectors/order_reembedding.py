"""Order a re-embedding: the vectors of a dataset version's images."""

from core.domain.datasets.manifest import ManifestEntry
from core.domain.jobs.job import Job
from core.domain.jobs.order import JobType, ReembedOrder
from core.domain.registry.version import Model
from core.domain.values import DatasetId
from core.errors import DatasetEmpty
from core.ports import JobNotifier, Platform, UnitOfWork
from core.use_cases.datasets.manifests import read_remaining
from core.use_cases.jobs.order_for_model import order_for_model
from core.use_cases.jobs.queue import JobRequest


def order_reembedding(
    platform: Platform,
    notifier: JobNotifier,
    request: JobRequest,
    *,
    model: str,
    version: int,
    dataset: str,
    dataset_version: int,
) -> Job:
    """Order that the vectors of a dataset version be stored, in the place of those that are.

    Raises what `preflight_reembedding` raises, ModelNotFound, DatasetNotFound or TooManyJobs.
    """

    def prepare(work: UnitOfWork, found: Model) -> ReembedOrder:
        named = DatasetId(work.datasets.get(dataset).id)
        order = ReembedOrder(version=version, dataset=named, dataset_version=dataset_version)
        preflight_reembedding(platform, work, found, order)
        return order

    return order_for_model(
        platform, notifier, request, JobType.REEMBED, prepare, model=model, lane=vectors_lane
    )


def vectors_lane(model: Model) -> str:
    """Return the lane of a model's jobs about vectors, which do not wait for its updates."""
    return f"{model.id}/vectors"


def preflight_reembedding(
    platform: Platform, work: UnitOfWork, model: Model, order: ReembedOrder
) -> None:
    """Raise an error unless the images can be embedded; keep the weights and the dataset version.

    That is VersionNotFound, ArtifactGone, DatasetVersionNotFound or DatasetEmpty.
    """
    work.versions.get(model.id, order.version).require_weights()
    images_to_embed(platform, work, order, keep=True)  # locked before the version, as in erasures
    work.versions.get(model.id, order.version, lock=True).require_weights()


def images_to_embed(
    platform: Platform, work: UnitOfWork, order: ReembedOrder, *, keep: bool = False
) -> tuple[ManifestEntry, ...]:
    """Return the images of the dataset version, sorted by pixels, without erased ones.

    Raises DatasetVersionNotFound, or DatasetEmpty if none is left.
    """
    frozen = work.datasets.version(order.dataset, order.dataset_version, keep=keep)
    entries = read_remaining(work, platform.artifacts, frozen.manifest).entries
    if not entries:
        raise DatasetEmpty("All images of the dataset version were erased.")
    return entries
