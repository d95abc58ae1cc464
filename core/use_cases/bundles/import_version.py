"""Make a version of a signed bundle.

The bundle is read twice: first every byte is checked against what was signed, and nothing is kept;
then its tensors are stored. Rows come last, in one transaction with the end of the job, so that an
import that is refused, cancelled or killed leaves no version, and a killed one begins again.
"""

from datetime import datetime
from typing import Any

from core.domain.access.audit import Action
from core.domain.jobs.job import Job, model_of
from core.domain.jobs.order import ImportVersionOrder
from core.domain.registry.origin import Origin
from core.domain.registry.version import Version, Weights
from core.domain.values import Digest, canonical_json, sha256
from core.errors import ArchiveGone, BundleInvalid
from core.ports import ArchiveReader, Monitor, Platform, Signatures, UnitOfWork
from core.use_cases.access import audit
from core.use_cases.bundles.order_version_import import find_parent, find_present
from core.use_cases.bundles.read_bundle import Keep, ReadBundle, read_bundle


def import_version(
    platform: Platform,
    archives: ArchiveReader,
    signatures: Signatures,
    job: Job,
    order: ImportVersionOrder,
    monitor: Monitor,
) -> None:
    """Add the version of a bundle to the model, as a candidate without a verdict.

    A model that has its digest keeps the version that it has. Raises BundleInvalid,
    BundleNotTrusted, LineageUnknown, LearnedErasedImages, ArchiveGone, StorageFull or Interruption.
    """

    def read_with(keep: Keep, phase: str) -> ReadBundle:
        read = 0

        def moved(count: int) -> None:
            nonlocal read
            read += count
            monitor.moved(count)
            monitor.advance(phase, min(read, order.archive_bytes), order.archive_bytes)

        pieces = platform.artifacts.pieces(order.archive, moved)
        return read_bundle(
            archives, signatures, platform.settings, pieces, order.archive_bytes, keep
        )

    if not platform.artifacts.has(order.archive):
        raise ArchiveGone(archive=order.archive)
    bundle = read_with(sha256, "checking")
    with platform.transactions(read_only=True) as work:
        model = work.models.get(model_of(job))
        present = find_present(work, model, bundle.signed)
        parent = present or find_parent(work, model, bundle.signed)
    if present is None:
        _require_alike(bundle.weights, Weights.from_bytes(platform.artifacts.get(parent.digest)))
        read_with(lambda data: platform.artifacts.put(data, monitor.moved), "storing")
        platform.artifacts.put(bundle.weights.to_bytes())
    record = platform.artifacts.put(canonical_json(record_of(bundle)))
    _commit(platform, job, order, bundle, record)


def record_of(bundle: ReadBundle) -> dict[str, Any]:
    """Return what a bundle says of its version beside the weights: the predicate and reports."""
    reports = {str(number): report for number, report in bundle.reports.items()}
    return {**bundle.signed.statement.predicate, "reports": reports}


def _require_alike(weights: Weights, of_parent: Weights) -> None:
    """Raise BundleInvalid unless the weights have the parent's architecture, which loads here."""

    def shapes(of: Weights) -> list[tuple[object, ...]]:
        return sorted((tensor.name, tensor.dtype, tensor.shape) for tensor in of.tensors)

    if (weights.config, shapes(weights)) != (of_parent.config, shapes(of_parent)):
        raise BundleInvalid(
            "The version has another architecture than the version that it was trained from."
        )


def _commit(
    platform: Platform, job: Job, order: ImportVersionOrder, bundle: ReadBundle, record: Digest
) -> None:
    now = platform.clock()
    with platform.transactions() as work:
        model = work.models.get(model_of(job))
        work.models.lock(model.id)
        version = find_present(work, model, bundle.signed)
        created = version is None
        if version is None:
            version = _version(work, job, order, bundle, record, now)
            work.versions.add(version)
            audit.record(
                work,
                Action.VERSION_IMPORTED,
                f"models/{model.name}/versions/{version.number}",
                now=now,
                after={
                    "digest": version.digest,
                    "bundle": order.archive,
                    "signed_by": bundle.signed.signer.name,
                },
                actor=f"job {job.id}",
            )
        result = {"version": version.number, "digest": version.digest, "created": created}
        work.jobs.finish(job.succeed(result, now), job.fence)
        work.commit()


def _version(
    work: UnitOfWork,
    job: Job,
    order: ImportVersionOrder,
    bundle: ReadBundle,
    record: Digest,
    now: datetime,
) -> Version:
    signed = bundle.signed
    parent = find_parent(work, work.models.get(model_of(job)), signed, lock=True)
    return Version(
        model=model_of(job),
        number=work.versions.next_number(model_of(job)),
        digest=bundle.weights.digest,
        size=bundle.weights.size,
        parent=parent.number,
        job=job.id,
        recipe=signed.version.recipe,
        update_classes=signed.version.taught_after(parent.digest),
        classes=signed.version.classes,
        prompt=signed.version.prompt,
        environment=signed.version.environment,
        environments=signed.version.environments,
        notes=signed.version.notes,
        feature_statistics=signed.version.feature_statistics,
        created_at=now,
        origin=Origin(
            model=signed.version.model,
            version=signed.version.number,
            signed_by=signed.signer.name,
            key_id=signed.signer.key_id,
            bundle=order.archive,
            record=record,
        ),
    )
