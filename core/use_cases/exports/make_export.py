"""Write a version in a format, check what was written, and store it."""

import json
from typing import Any

from core.domain.access.audit import Action
from core.domain.export_format import ExportFormat
from core.domain.jobs.job import Job, model_of
from core.domain.jobs.order import ExportOrder
from core.domain.registry.export import Export, require_equal
from core.domain.registry.version import Model, Version
from core.domain.values import Json
from core.errors import ExporterMissing
from core.ports import Exporter, Monitor, Platform, Signatures
from core.use_cases.access import audit
from core.use_cases.exports.bundle_folder import complete_bundle, describe_line
from core.use_cases.exports.open_clip_folder import write_folder
from core.use_cases.exports.pack import store_tar
from core.use_cases.exports.samples import choose_samples
from core.use_cases.exports.scratch import scratch_folder

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
        raise ExporterMissing(
            "This worker cannot write the format: install the extra `export` where it runs.",
            format=order.format.value,
            libraries=order.format.libraries,
        )
    with platform.transactions(read_only=True) as work:
        model = work.models.get(model_of(job))
        version = work.versions.get(model.id, order.version)
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
        check = _described(version, order, found)
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


def _described(version: Version, order: ExportOrder, found: Json) -> dict[str, Any]:
    return {
        "version": version.number,
        "digest": version.digest,
        "format": order.format.value,
        "least_cosine_required": order.format.least_cosine,
        **found,
    }


def _commit(platform: Platform, job: Job, model: Model, export: Export) -> None:
    """Record the export, unless the version has lost its weights or an image meanwhile."""
    now = platform.clock()
    with platform.transactions() as work:
        version = work.versions.get(model.id, export.version, lock=True)
        version.require_weights()
        version.require_clean()
        work.exports.put(export)
        audit.record(
            work,
            Action.EXPORT_MADE,
            f"models/{model.name}/versions/{export.version}/exports/{export.format}",
            now=now,
            after={"artifact": export.artifact, "digest": version.digest},
            actor=f"job {job.id}",
        )
        result = {"artifact": export.artifact, "size": export.size, **export.check}
        work.jobs.finish(job.succeed(result, now), job.fence)
        work.commit()
