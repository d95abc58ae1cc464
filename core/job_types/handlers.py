"""The work of each type of job."""

from dataclasses import dataclass
from typing import assert_never

from core.archives.reader import ArchiveReader
from core.bases.create_model import Importer, import_model
from core.blame.blame_images import blame_images
from core.bundles.import_version import import_version
from core.bundles.signing import Signatures
from core.engines.compiler import Compiler
from core.erasure.erase_images import erase_images
from core.evaluation.evaluate import Evaluator, evaluate_version
from core.exports.exporter import Exporter
from core.exports.make import make_export
from core.images.decoder import Decoder
from core.imports.import_images import import_images
from core.jobs import orders
from core.jobs.rules import Job, Monitor
from core.platform import Platform
from core.training.convert import convert_version
from core.training.trainer import Trainer
from core.training.update_model import update_model
from core.vectors.compare_index import compare_index
from core.vectors.embedder import Embedder
from core.vectors.reembed import reembed


@dataclass(frozen=True, kw_only=True)
class Tools:
    """The tools with which a worker does jobs; the first six need torch."""

    importer: Importer
    compiler: Compiler
    trainer: Trainer
    evaluator: Evaluator
    embedder: Embedder
    exporter: Exporter
    archives: ArchiveReader
    decoder: Decoder
    signatures: Signatures


def perform(platform: Platform, tools: Tools, job: Job, monitor: Monitor) -> None:
    """Do what a job orders: end it with `Jobs.finish`, or raise what `run_next_job` records."""
    match job.order:
        case orders.ImportOrder() as order:
            import_model(platform, tools.importer, tools.compiler, job, order, monitor)
        case orders.UpdateOrder() as order:
            version = update_model(platform, tools.trainer, tools.compiler, job, order, monitor)
            evaluate_version(platform, tools.evaluator, job, version, monitor, promote=order)
        case orders.ConvertOrder() as order:
            version = convert_version(platform, tools.compiler, job, order, monitor)
            evaluate_version(platform, tools.evaluator, job, version, monitor, promote=order)
        case orders.EvaluateOrder(version=version):
            evaluate_version(platform, tools.evaluator, job, version, monitor, promote=None)
        case orders.ImportImagesOrder() as order:
            import_images(platform, tools.archives, tools.decoder, job, order, monitor)
        case orders.EraseOrder() as order:
            erase_images(platform, job, order, monitor)
        case orders.BlameOrder() as order:
            blame_images(platform, tools.trainer, tools.evaluator, job, order, monitor)
        case orders.ExportOrder() as order:
            make_export(platform, tools.exporter, tools.signatures, job, order, monitor)
        case orders.ImportVersionOrder() as order:
            import_version(
                platform,
                tools.archives,
                tools.signatures,
                tools.compiler,
                job,
                order,
                monitor,
            )
        case orders.CompareIndexOrder() as order:
            compare_index(platform, tools.embedder, job, order, monitor)
        case orders.ReembedOrder() as order:
            reembed(platform, tools.embedder, job, order, monitor)
        case unknown:
            assert_never(unknown)
