"""Order the import of a version from a signed bundle, and make the version.

The bundle is read twice: first every byte is checked against what was signed, and nothing is kept;
then its tensors are stored. Rows come last, in one transaction with the end of the job, so that an
import that is refused, cancelled or killed leaves no version, and a killed one begins again.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from core.archives.reader import ArchiveReader
from core.artifacts.store import Artifacts
from core.audit import record as audit
from core.audit.rules import Action
from core.bundles.read import Keep, ReadBundle, SignedBundle, read_bundle
from core.bundles.signing import Signatures
from core.database.work import Work
from core.datasets.manifests import Part
from core.datasets.version_rows import Suites
from core.engines.compiler import Compiler
from core.errors import ArchiveGone, BundleInvalid, GuardUnfit, LineageUnknown, VersionNotFound
from core.evaluation.exams import entries_in
from core.evaluation.guards import guarding_images, without_images
from core.evaluation.stored_answers import read_suite
from core.gate.rows import Policies
from core.jobs.orders import ImportVersionOrder, JobType
from core.jobs.queue import JobRequest, order_for_model
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobNotifier, Monitor, model_of
from core.platform import Platform
from core.registry.architecture import TOKENIZER
from core.registry.configure import add_suite
from core.registry.marks import Marks
from core.registry.read import ancestors, grown_holdouts_of
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import (
    Model,
    Origin,
    ServingPrecision,
    Version,
    Weights,
    in_precision,
    precision_of,
)
from core.values import Digest, SuiteId, canonical_json, sha256


def order_version_import(
    platform: Platform,
    notifier: JobNotifier,
    request: JobRequest,
    signed: SignedBundle,
    *,
    model: str,
    archive: Digest,
    size: int,
    guard: str | None,
) -> Job:
    """Order that a model get the version of a stored bundle of `size` bytes.

    The suite `guard` then judges the model too. Raises what `require_place_for` and `require_guard`
    raise, SuiteRetired, or TooManyJobs.
    """

    def prepare(work: Work, found: Model) -> ImportVersionOrder:
        suites: tuple[SuiteId, ...] = ()
        if guard is not None:
            suites = work[Suites].chosen([guard])
            require_guard(work, platform.artifacts, found, signed, guard)
        require_place_for(work, found, signed)
        return ImportVersionOrder(
            archive=archive,
            archive_bytes=size,
            digest=signed.version.digest,
            guard=suites[0] if suites else None,
        )

    return order_for_model(
        platform, notifier, request, JobType.IMPORT_VERSION, prepare, model=model, lane=lane_of
    )


def lane_of(model: Model) -> str:
    """Return the lane of a model's imports of versions, which do not wait for its updates."""
    return f"{model.id}/imports"


def require_place_for(work: Work, model: Model, signed: SignedBundle) -> None:
    """Raise LineageUnknown or LearnedErasedImages unless a model can take a bundle's version."""
    require_unmarked(work, signed)
    if find_present(work, model, signed.version.digest) is None:
        find_parent(work, model, signed)


def require_unmarked(work: Work, signed: SignedBundle) -> None:
    """Raise LearnedErasedImages if images that a bundle's line learned from were erased here."""
    line = {signed.version.digest, *signed.version.learned_from}
    work[Marks].require_none(line, "The version of the bundle, or one that it was trained from,")


def require_guard(
    work: Work, artifacts: Artifacts, model: Model, signed: SignedBundle, guard: str
) -> None:
    """Raise SuiteNotFound, or GuardUnfit for a suite that guards no class of a bundle's version."""
    suite = read_suite(work, artifacts, work[Suites].get(guard))
    taught = _taught(work, model, signed)
    policy = work[Policies].get(model.policy)
    if len(without_images(taught, guarding_images(suite), policy)) == len(taught):
        raise GuardUnfit(suite=suite.suite.name, classes=list(taught))


def _taught(work: Work, model: Model, signed: SignedBundle) -> tuple[str, ...]:
    """Return the classes that a bundle's version was taught since the parent that it has here."""
    if present := find_present(work, model, signed.version.digest):
        return present.update_classes
    return signed.version.taught_after(find_parent(work, model, signed).digest)


def _unguarded(
    work: Work, artifacts: Artifacts, model: Model, signed: SignedBundle, guard: SuiteId | None
) -> tuple[str, ...]:
    """Return the classes that a bundle's version was taught and that nothing here guards."""
    suites = [*model.suites, *([guard] if guard else [])]
    present = find_present(work, model, signed.version.digest)
    nearest = present or find_parent(work, model, signed)
    shown = [guarding_images(read_suite(work, artifacts, work[Suites].get(one))) for one in suites]
    line = [*ancestors(work, nearest), nearest]
    for held_out in grown_holdouts_of(work, artifacts, line):
        shown.append(entries_in(Part.TEST, held_out))
    taught, policy = _taught(work, model, signed), work[Policies].get(model.policy)
    return without_images(taught, chain.from_iterable(shown), policy)


def find_present(work: Work, model: Model, digest: Digest) -> Version | None:
    """Return the version of a digest, if the model has it with its weights."""
    try:
        found = work[Versions].by_digest(model.id, digest)
    except VersionNotFound:
        return None
    return found if found.collected_at is None else None


def find_parent(work: Work, model: Model, signed: SignedBundle, *, lock: bool = False) -> Version:
    """Return the nearest of the version's ancestors that the model has, with its weights.

    Raises LineageUnknown without any, or LearnedErasedImages if images that it learned from were
    erased here: then so has the version.
    """
    for digest in signed.version.ancestors:
        found = find_present(work, model, digest)
        if found is not None:
            found = work[Versions].get(model.id, found.number, lock=True) if lock else found
            found.require_clean()
            found.require_weights()
            return found
    raise LineageUnknown(
        f"The model {model.name} has none of the versions that this one was trained from: create a "
        "model from the same base and import it there.",
        ancestors=list(signed.version.ancestors),
    )


def import_version(
    platform: Platform,
    archives: ArchiveReader,
    signatures: Signatures,
    compiler: Compiler,
    job: Job,
    order: ImportVersionOrder,
    monitor: Monitor,
) -> None:
    """Add the version of a bundle to the model, as a candidate without a verdict, and its guard.

    A model that has its digest keeps the version that it has. Raises BundleInvalid,
    BundleNotTrusted, LineageUnknown, LearnedErasedImages, SuiteRetired, ArchiveGone, StorageFull or
    Interruption.
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
        model = work[Models].get(model_of(job))
        present = find_present(work, model, bundle.weights.digest)
        parent = present or find_parent(work, model, bundle.signed)
        unguarded = _unguarded(work, platform.artifacts, model, bundle.signed, order.guard)
    if present is None:
        require_alike(bundle.weights, Weights.from_bytes(platform.artifacts.get(parent.digest)))
        read_with(lambda data: platform.artifacts.put(data, monitor.moved), "storing")
        platform.artifacts.put(bundle.weights.to_bytes())
        compiler.compile(bundle.weights.digest, monitor)
    record = platform.artifacts.put(canonical_json(record_of(bundle)))
    _commit(platform, job, order, bundle, record, unguarded)


def record_of(bundle: ReadBundle) -> dict[str, Any]:
    """Return what a bundle says of its version beside the weights: the predicate and reports."""
    reports = {str(number): report for number, report in bundle.reports.items()}
    return {**bundle.signed.statement.predicate, "reports": reports}


def require_alike(weights: Weights, of_parent: Weights) -> None:
    """Raise BundleInvalid unless the weights have the parent's architecture, which loads here."""

    def shapes(of: Weights) -> list[tuple[object, ...]]:
        """Return what versions of a line have in common: all but most tensors' numbers."""
        return sorted(
            (tensor.name, tensor.dtype, tensor.shape, tensor.name == TOKENIZER and tensor.digest)
            for tensor in of.tensors
        )

    if weights.config.get("precision", ServingPrecision.FP32) not in [*ServingPrecision]:
        raise BundleInvalid("The version has a precision that this release does not know.")
    ours, theirs = (in_precision(one, ServingPrecision.FP32).config for one in (weights, of_parent))
    if (ours, shapes(weights)) != (theirs, shapes(of_parent)):
        raise BundleInvalid(
            "The version has another architecture than the version that it was trained from."
        )


def _commit(
    platform: Platform,
    job: Job,
    order: ImportVersionOrder,
    bundle: ReadBundle,
    record: Digest,
    unguarded: Sequence[str],
) -> None:
    now = platform.clock()
    with platform.transactions() as work:
        guards = work[Suites].chosen([order.guard] if order.guard else [])
        model = work[Models].get(model_of(job))
        work[Models].lock_all()  # as an erasure does, so that one sees what the other has written
        require_unmarked(work, bundle.signed)
        version = find_present(work, model, bundle.weights.digest)
        created = version is None
        if version is None:
            version = _version(work, job, order, bundle, record, now)
            work[Versions].add(version)
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
        for guard in guards:
            add_suite(work, model.id, guard, actor=f"job {job.id}", now=now)
        result = {
            "version": version.number,
            "digest": version.digest,
            "created": created,
            "unguarded": list(unguarded),
        }
        work[Jobs].finish(job.succeed(result, now), job.fence)
        work.commit()


def _version(
    work: Work,
    job: Job,
    order: ImportVersionOrder,
    bundle: ReadBundle,
    record: Digest,
    now: datetime,
) -> Version:
    signed = bundle.signed
    parent = find_parent(work, work[Models].get(model_of(job)), signed, lock=True)
    return Version(
        model=model_of(job),
        number=work[Versions].next_number(model_of(job)),
        digest=bundle.weights.digest,
        size=bundle.weights.size,
        precision=precision_of(bundle.weights.config),
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
            learned_from=signed.version.learned_from,
        ),
    )
