"""The handler of each job type."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from core.archives.rules import ArchiveReader
from core.bases.create_model import Importer, import_model
from core.blame.blame_images import blame_images
from core.bundles.import_version import import_version
from core.bundles.rules import Signatures
from core.erasure.erase_images import erase_images
from core.evaluation.evaluate import Evaluator, evaluate_version
from core.exports.exporter import Exporter
from core.exports.make import make_export
from core.images.decoder import Decoder
from core.imports.import_images import import_images
from core.jobs import orders
from core.jobs.rules import Job, Monitor, order_of
from core.platform import Platform
from core.training.trainer import Trainer
from core.training.update_model import update_model
from core.vectors.compare_index import compare_index
from core.vectors.embedder import Embedder
from core.vectors.reembed import reembed


@dataclass(frozen=True, kw_only=True)
class Tools:
    """The tools with which a worker does jobs; the first five need torch."""

    importer: Importer
    trainer: Trainer
    evaluator: Evaluator
    embedder: Embedder
    exporter: Exporter
    archives: ArchiveReader
    decoder: Decoder
    signatures: Signatures


Handler = Callable[[Platform, Tools, Job, Monitor], None]


def _import(platform: Platform, tools: Tools, job: Job, monitor: Monitor) -> None:
    import_model(platform, tools.importer, job, order_of(job, orders.ImportOrder), monitor)


def _update(platform: Platform, tools: Tools, job: Job, monitor: Monitor) -> None:
    order = order_of(job, orders.UpdateOrder)
    version = update_model(platform, tools.trainer, job, order, monitor)
    evaluate_version(platform, tools.evaluator, job, version, monitor, promote=order)


def _evaluate(platform: Platform, tools: Tools, job: Job, monitor: Monitor) -> None:
    version = order_of(job, orders.EvaluateOrder).version
    evaluate_version(platform, tools.evaluator, job, version, monitor, promote=None)


def _import_images(platform: Platform, tools: Tools, job: Job, monitor: Monitor) -> None:
    order = order_of(job, orders.ImportImagesOrder)
    import_images(platform, tools.archives, tools.decoder, job, order, monitor)


def _erase(platform: Platform, _: Tools, job: Job, monitor: Monitor) -> None:
    erase_images(platform, job, order_of(job, orders.EraseOrder), monitor)


def _blame(platform: Platform, tools: Tools, job: Job, monitor: Monitor) -> None:
    order = order_of(job, orders.BlameOrder)
    blame_images(platform, tools.trainer, tools.evaluator, job, order, monitor)


def _export(platform: Platform, tools: Tools, job: Job, monitor: Monitor) -> None:
    order = order_of(job, orders.ExportOrder)
    make_export(platform, tools.exporter, tools.signatures, job, order, monitor)


def _import_version(platform: Platform, tools: Tools, job: Job, monitor: Monitor) -> None:
    order = order_of(job, orders.ImportVersionOrder)
    import_version(platform, tools.archives, tools.signatures, job, order, monitor)


def _compare_index(platform: Platform, tools: Tools, job: Job, monitor: Monitor) -> None:
    compare_index(platform, tools.embedder, job, order_of(job, orders.CompareIndexOrder), monitor)


def _reembed(platform: Platform, tools: Tools, job: Job, monitor: Monitor) -> None:
    reembed(platform, tools.embedder, job, order_of(job, orders.ReembedOrder), monitor)


# A handler ends its job with `Jobs.finish`, or raises what `run_next_job` records.
HANDLERS: Mapping[orders.JobType, Handler] = {
    orders.JobType.IMPORT: _import,
    orders.JobType.UPDATE: _update,
    orders.JobType.EVALUATE: _evaluate,
    orders.JobType.IMPORT_IMAGES: _import_images,
    orders.JobType.ERASE: _erase,
    orders.JobType.BLAME: _blame,
    orders.JobType.EXPORT: _export,
    orders.JobType.IMPORT_VERSION: _import_version,
    orders.JobType.COMPARE_INDEX: _compare_index,
    orders.JobType.REEMBED: _reembed,
}
