"""Order and make exports."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from core import errors
from core.audit import record as audit
from core.audit.rules import Action
from core.bundles.signing import Signatures
from core.bundles.write import complete_bundle, describe_line, store_tar
from core.database.work import Work
from core.datasets.freeze import read_remaining
from core.datasets.manifests import ManifestEntry
from core.datasets.rules import Suite
from core.exports.exporter import Exporter, Samples
from core.exports.folders import write_folder
from core.exports.rows import Exports
from core.fleet.rows import Heartbeats
from core.fleet.workers import silence_limit_s
from core.jobs.orders import ExportOrder, JobType, Queue
from core.jobs.queue import JobRequest, order_for_model
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobNotifier, Monitor, model_of
from core.platform import Platform
from core.recipes.rules import distinct
from core.registry.architecture import require_exportable
from core.registry.exports import Export, ExportFormat, require_equal
from core.registry.read import suites_of
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version, Weights
from core.values import JobId


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

    def prepare(work: Work, found: Model) -> ExportOrder:
        preflight_export(platform, work, found, order)
        return order

    return order_for_model(
        platform, notifier, request, JobType.EXPORT, prepare, model=model, lane=lane_of
    )


def lane_of(model: Model) -> str:
    """Return the lane of a model's exports, which do not wait for its updates."""
    return f"{model.id}/exports"


def preflight_export(platform: Platform, work: Work, model: Model, order: ExportOrder) -> None:
    """Raise an error unless a version can be written in a format, and keep its weights.

    That is VersionNotFound, ArtifactGone, LearnedErasedImages, NotExportable, SigningKeyMissing, or
    ExporterMissing if workers are there and none has the libraries.
    """
    if order.format is ExportFormat.BUNDLE and not platform.settings.signing_key:
        raise errors.SigningKeyMissing
    version = work[Versions].get(model.id, order.version, lock=True)
    version.require_weights()
    version.require_clean()
    try:
        weights = Weights.from_bytes(platform.artifacts.get(version.digest))
    except errors.ArtifactMissing as error:
        raise errors.ArtifactGone(version=version.number) from error
    require_exportable(weights.config, order.format)
    _require_exporter(work, silence_limit_s(platform.settings), order)


def _require_exporter(work: Work, patience: float, order: ExportOrder) -> None:
    """Raise ExporterMissing if workers say what they can write, and none can write this."""
    wanted = JobType.EXPORT.queue
    serving = [
        facts["formats"]
        for _, facts in work[Heartbeats].fresh(patience)
        if "formats" in facts and wanted in map(Queue, facts["queues"])
    ]
    if serving and not any(order.format in formats for formats in serving):
        raise errors.ExporterMissing(format=order.format.value, libraries=order.format.libraries)


# The export: written, checked and stored.

CHECK_FILE = "check.json"


def make_export(
    platform: Platform,
    exporter: Exporter,
    signatures: Signatures,
    job: Job,
    order: ExportOrder,
    monitor: Monitor,
) -> None:
    """Write a version, check it, and commit the export and the job's end in one transaction.

    The bytes are stored before, and deleted by a garbage collection if the commit fails. A killed
    job begins again, and writes the same bytes. Raises ExporterMissing, SigningKeyMissing,
    ExportDiffers, ArtifactGone or LearnedErasedImages.
    """
    if order.format not in exporter.formats():
        raise errors.ExporterMissing(
            "This worker cannot write the format: install the extra `export` where it runs.",
            format=order.format.value,
            libraries=order.format.libraries,
        )
    with platform.transactions(read_only=True) as work:
        model = work[Models].get(model_of(job))
        version = work[Versions].get(model.id, order.version)
        version.require_weights()
        version.require_clean()
        samples = choose_samples(platform, work, model, version)
        bundle = order.format is ExportFormat.BUNDLE and describe_line(work, model, version)
    with scratch_folder(platform, job) as folder:
        monitor.advance("writing", 0, 1)
        if order.format.is_open_clip_folder:
            write_folder(platform.artifacts, version, folder, monitor.moved)
        else:
            exporter.write(version.digest, order.format, folder, monitor)
        monitor.advance("checking", 0, 1)
        found = exporter.check(version.digest, order.format, folder, samples, monitor)
        check = {
            "version": version.number,
            "digest": version.digest,
            "format": order.format.value,
            "least_cosine_required": order.format.least_cosine,
            **found,
        }
        require_equal(order.format, check)
        (folder / CHECK_FILE).write_text(json.dumps(check, indent=2, sort_keys=True) + "\n")
        if bundle:
            complete_bundle(platform, signatures, bundle, folder, monitor)
        monitor.advance("storing", 0, 1)
        name = f"{model.name}-{version.number}"
        artifact, size = store_tar(platform.artifacts, folder, name, monitor.moved)
    export = Export(
        model=model.id,
        version=version.number,
        format=order.format,
        artifact=artifact,
        size=size,
        check=check,
        job=job.id,
        created_at=platform.clock(),
    )
    _commit(platform, job, model, export)


def _commit(platform: Platform, job: Job, model: Model, export: Export) -> None:
    """Record the export, unless the version has lost its weights or an image meanwhile."""
    now = platform.clock()
    with platform.transactions() as work:
        version = work[Versions].get(model.id, export.version, lock=True)
        version.require_weights()
        version.require_clean()
        work[Exports].put(export)
        audit.record(
            work,
            Action.EXPORT_MADE,
            f"models/{model.name}/versions/{export.version}/exports/{export.format}",
            now=now,
            after={"artifact": export.artifact, "digest": version.digest},
            actor=f"job {job.id}",
        )
        result = {"artifact": export.artifact, "size": export.size, **export.check}
        work[Jobs].finish(job.succeed(result, now), job.fence)
        work.commit()


# The images and texts by which an export is compared with its version.

MOST_IMAGES = MOST_TEXTS = 32
SENTENCES = (  # beside those of the version and of the suites
    "a photo of a cat.",
    "Two children play football on a sunny beach, while a brown dog watches them.",
    "12 red apples & 3 pears: £4.50!",
)


def choose_samples(platform: Platform, work: Work, model: Model, version: Version) -> Samples:
    """Return images of the model's suites, and texts of the version and the suites.

    The same suites always give the same samples: the images with the smallest digests. A model
    without suites has no images here.
    """
    suites = suites_of(work, model)
    entries = {
        entry.pixels: entry
        for suite in suites
        for entry in read_remaining(work, platform.artifacts, suite.manifest).entries
    }
    chosen = [entries[pixels] for pixels in sorted(entries)[:MOST_IMAGES]]
    texts = distinct(islice(_texts(version, suites, chosen), MOST_TEXTS - len(SENTENCES)))
    return Samples(images=tuple(entry.artifact for entry in chosen), texts=(*texts, *SENTENCES))


def _texts(
    version: Version, suites: tuple[Suite, ...], chosen: list[ManifestEntry]
) -> Iterator[str]:
    yield from version.prompt.fill_all(version.classes)
    for suite in suites:
        yield from suite.prompt.fill_all(suite.classes)
    for entry in chosen:
        yield from entry.texts


# The folders in which exports are written before they are stored.


@contextmanager
def scratch_folder(platform: Platform, job: Job) -> Iterator[Path]:
    """Yield an empty folder of this claim of a job, which is deleted at the end.

    What killed workers have left is deleted first: folders of earlier claims, and of jobs that have
    ended. Raises StorageFull when the disk is full.
    """
    root = platform.settings.home / "exporting"
    _tidy(platform, root, job)
    folder = root / f"{job.id}-{job.fence}"
    try:
        with errors.raising_storage_full():
            folder.mkdir(parents=True)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tidy(platform: Platform, root: Path, job: Job) -> None:
    left = list(root.glob("*-*"))
    with platform.transactions(read_only=True) as work:
        for path in left:
            of, _, fence = path.name.rpartition("-")
            try:
                if of == job.id:  # a later claim's is in use: this worker has lost the job
                    unused = int(fence) <= job.fence
                else:
                    unused = work[Jobs].get(JobId(of)).status.done
            except errors.JobNotFound:
                unused = True
            if unused:
                shutil.rmtree(path, ignore_errors=True)
