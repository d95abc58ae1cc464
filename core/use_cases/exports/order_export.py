"""Order the export of a version."""

from core.domain.export_format import ExportFormat
from core.domain.jobs.job import Job
from core.domain.jobs.order import ExportOrder, JobType, Queue
from core.domain.registry.huggingface_fit import require_exportable
from core.domain.registry.version import Model, Weights
from core.errors import ArtifactGone, ArtifactMissing, ExporterMissing, SigningKeyMissing
from core.ports import JobNotifier, Platform, UnitOfWork
from core.use_cases.jobs.order_for_model import order_for_model
from core.use_cases.jobs.queue import JobRequest
from core.use_cases.operations.workers import silence_limit_s


def order_export(
    platform: Platform,
    notifier: JobNotifier,
    request: JobRequest,
    *,
    model: str,
    order: ExportOrder,
) -> Job:
    """Order that a version be written in a format, in the place of its export in that format.

    Raises what `preflight_export` raises, ModelNotFound or TooManyJobs.
    """

    def prepare(work: UnitOfWork, found: Model) -> ExportOrder:
        preflight_export(platform, work, found, order)
        return order

    return order_for_model(
        platform, notifier, request, JobType.EXPORT, prepare, model=model, lane=lane_of
    )


def lane_of(model: Model) -> str:
    """Return the lane of a model's exports, which do not wait for its updates."""
    return f"{model.id}/exports"


def preflight_export(
    platform: Platform, work: UnitOfWork, model: Model, order: ExportOrder
) -> None:
    """Raise an error unless a version can be written in a format, and keep its weights.

    That is VersionNotFound, ArtifactGone, LearnedErasedImages, NotExportable, SigningKeyMissing, or
    ExporterMissing if workers are there and none has the libraries.
    """
    if order.format is ExportFormat.BUNDLE and not platform.settings.signing_key:
        raise SigningKeyMissing
    version = work.versions.get(model.id, order.version, lock=True)
    version.require_weights()
    version.require_clean()
    try:
        weights = Weights.from_bytes(platform.artifacts.get(version.digest))
    except ArtifactMissing as error:
        raise ArtifactGone(version=version.number) from error
    require_exportable(weights.config, order.format)
    _require_exporter(work, silence_limit_s(platform.settings), order)


def _require_exporter(work: UnitOfWork, patience: float, order: ExportOrder) -> None:
    """Raise ExporterMissing if workers say what they can write, and none can write this."""
    wanted = JobType.EXPORT.queue
    serving = [
        facts["formats"]
        for _, facts in work.heartbeats.fresh(patience)
        if "formats" in facts and wanted in map(Queue, facts["queues"])
    ]
    if serving and not any(order.format in formats for formats in serving):
        raise ExporterMissing(format=order.format.value, libraries=order.format.libraries)
