"""Order the import of a version from a bundle."""

from core.domain.jobs.job import Job
from core.domain.jobs.order import ImportVersionOrder, JobType
from core.domain.registry.version import Model, Version
from core.domain.values import Digest
from core.errors import LineageUnknown, VersionNotFound
from core.ports import JobNotifier, Platform, UnitOfWork
from core.use_cases.bundles.read_bundle import SignedBundle
from core.use_cases.jobs.order_for_model import order_for_model
from core.use_cases.jobs.queue import JobRequest


def order_version_import(
    platform: Platform,
    notifier: JobNotifier,
    request: JobRequest,
    signed: SignedBundle,
    *,
    model: str,
    archive: Digest,
    size: int,
) -> Job:
    """Order that a model get the version of a stored bundle of `size` bytes.

    Raises what `require_place_for` raises, or TooManyJobs.
    """
    order = ImportVersionOrder(archive=archive, archive_bytes=size, digest=signed.version.digest)

    def prepare(work: UnitOfWork, found: Model) -> ImportVersionOrder:
        require_place_for(work, found, signed)
        return order

    return order_for_model(
        platform, notifier, request, JobType.IMPORT_VERSION, prepare, model=model, lane=lane_of
    )


def lane_of(model: Model) -> str:
    """Return the lane of a model's imports of versions, which do not wait for its updates."""
    return f"{model.id}/imports"


def require_place_for(work: UnitOfWork, model: Model, signed: SignedBundle) -> None:
    """Raise LineageUnknown or LearnedErasedImages unless a model can take a bundle's version."""
    if find_present(work, model, signed) is None:
        find_parent(work, model, signed)


def find_present(work: UnitOfWork, model: Model, signed: SignedBundle) -> Version | None:
    """Return the version of the bundle's digest, if the model has it with its weights."""
    return _with_weights(work, model, signed.version.digest)


def find_parent(
    work: UnitOfWork, model: Model, signed: SignedBundle, *, lock: bool = False
) -> Version:
    """Return the nearest of the version's ancestors that the model has, with its weights.

    Raises LineageUnknown without any, or LearnedErasedImages if images that it learned from were
    erased here: then so has the version.
    """
    for digest in signed.version.ancestors:
        found = _with_weights(work, model, digest)
        if found is not None:
            found = work.versions.get(model.id, found.number, lock=True) if lock else found
            found.require_clean()
            found.require_weights()
            return found
    raise LineageUnknown(
        f"The model {model.name} has none of the versions that this one was trained from: create a "
        "model from the same base and import it there.",
        ancestors=list(signed.version.ancestors),
    )


def _with_weights(work: UnitOfWork, model: Model, digest: Digest) -> Version | None:
    try:
        found = work.versions.by_digest(model.id, digest)
    except VersionNotFound:
        return None
    return found if found.collected_at is None else None
