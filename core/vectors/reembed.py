"""Order vectors of a dataset version's images, compute and store them, and delete them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from core.audit import record as audit
from core.audit.rules import Action
from core.database.work import Work
from core.datasets.freeze import read_remaining, require_unerased
from core.datasets.manifests import ManifestEntry
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetRef
from core.errors import ArtifactCorrupt, ArtifactMissing, DatasetEmpty
from core.jobs.orders import JobType, ReembedOrder
from core.jobs.queue import JobRequest, order_for_model
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobNotifier, Monitor, model_of
from core.platform import Platform
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version
from core.values import DatasetId, Digest, canonical_json, json_lines, sha256
from core.vectors.embedder import Embedder
from core.vectors.rows import Vectors
from core.vectors.stored import (
    PART,
    VALUE_BYTES,
    StoredVectors,
    VectorParts,
    npy_header,
    part_of_job,
    vectors_of,
)


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

    Those of several are computed at once, by as many workers. Raises what `preflight_reembedding`
    raises, ModelNotFound, DatasetNotFound or TooManyJobs.
    """

    def prepare(work: Work, found: Model) -> ReembedOrder:
        named = DatasetId(work[Datasets].get(dataset).id)
        order = ReembedOrder(version=version, dataset=named, dataset_version=dataset_version)
        preflight_reembedding(platform, work, found, order)
        return order

    def lane(found: Model) -> str:
        return f"{vectors_lane(found)}/{dataset}/{dataset_version}"

    return order_for_model(
        platform, notifier, request, JobType.REEMBED, prepare, model=model, lane=lane
    )


def vectors_lane(model: Model) -> str:
    """Return the lane of a model's comparisons of vectors, which do not wait for its updates."""
    return f"{model.id}/vectors"


def preflight_reembedding(
    platform: Platform, work: Work, model: Model, order: ReembedOrder
) -> None:
    """Raise an error unless the images can be embedded; keep the weights and the dataset version.

    That is VersionNotFound, ArtifactGone, DatasetVersionNotFound or DatasetEmpty.
    """
    work[Versions].get(model.id, order.version).require_weights()
    images_to_embed(platform, work, order, keep=True)  # locked before the version, as in erasures
    work[Versions].get(model.id, order.version, lock=True).require_weights()


def images_to_embed(
    platform: Platform, work: Work, order: ReembedOrder, *, keep: bool = False
) -> tuple[ManifestEntry, ...]:
    """Return the images of the dataset version, sorted by pixels, without erased ones.

    Raises DatasetVersionNotFound, or DatasetEmpty if none is left.
    """
    frozen = work[Datasets].version(order.dataset, order.dataset_version, keep=keep)
    entries = read_remaining(work, platform.artifacts, frozen.manifest).entries
    if not entries:
        raise DatasetEmpty("All images of the dataset version were erased.")
    return entries


# The re-embedding: part by part, then joined to one file.

ERASED = "An image was erased while the dataset version was embedded: order it again."


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """The images of a re-embedding, in the order of the rows."""

    model: Model
    version: Version
    entries: tuple[ManifestEntry, ...]

    @cached_property
    def parts(self) -> list[tuple[ManifestEntry, ...]]:
        return [self.entries[start : start + PART] for start in range(0, len(self.entries), PART)]

    @cached_property
    def digest(self) -> Digest:
        """Identifies what the parts depend on."""
        pixels = [entry.pixels for entry in self.entries]
        return sha256(canonical_json([self.version.digest, PART, pixels]))


def reembed(
    platform: Platform, embedder: Embedder, job: Job, order: ReembedOrder, monitor: Monitor
) -> None:
    """Store the vectors of a dataset version; a resumed job computes no stored part again.

    Raises what the embedder raises, ArtifactGone, DatasetVersionNotFound, DatasetEmpty, or
    ImageErased if an image was erased meanwhile.
    """
    with platform.transactions(read_only=True) as work:
        model = work[Models].get(model_of(job))
        version = work[Versions].get(model.id, order.version)
        version.require_weights()
        entries = images_to_embed(platform, work, order)
    plan = _Plan(model=model, version=version, entries=entries)
    keeper = _PartKeeper(platform, job, plan.digest)
    try:
        left = plan.parts[len(keeper.kept.parts) :]
        for vectors in embedder.embed(version.digest, left, monitor) if left else ():
            keeper.add(vectors, monitor)
        stored = _store(platform, job, order, plan, keeper.kept.parts, monitor)
        _commit(platform, job, plan, stored)
    except ArtifactMissing:
        with platform.transactions(read_only=True) as work:
            require_unerased(work, plan.entries, ERASED)
        raise
    keeper.clear()


class _PartKeeper:
    """Stores parts, and the list of them that the job resumes from."""

    def __init__(self, platform: Platform, job: Job, plan: Digest) -> None:
        self.kept = VectorParts(job=job.id, plan=plan)
        self._platform = platform
        self._artifacts = platform.artifacts
        self._job = job
        self._list = job.checkpoint
        if self._list is not None:
            self._resume(self._list)

    def add(self, vectors: bytes, monitor: Monitor) -> None:
        """Store a part, and the list with it. Raises LeaseLost."""
        part = self._artifacts.put(part_of_job(self._job.id, vectors), monitor.moved)
        self.kept = self.kept.plus(part)
        former, self._list = self._list, self._artifacts.put(self.kept.to_bytes())
        with self._platform.transactions() as work:
            work[Jobs].set_checkpoint(self._job.id, self._job.fence, self._list)
            work.commit()
        if former not in {None, self._list}:
            self._artifacts.delete(former)

    def clear(self) -> None:
        """Delete what the job would have resumed from, once it has ended."""
        for digest in (*self.kept.parts, *([self._list] if self._list else [])):
            self._artifacts.delete(digest)

    def _resume(self, digest: Digest) -> None:
        """Take over the parts of an earlier attempt, up to the first that cannot be read.

        Delete those of another plan: an image was erased since, and they hold vectors of it.
        """
        try:
            found = VectorParts.from_bytes(self._artifacts.get(digest))
            for part in found.parts:
                if found.plan != self.kept.plan:
                    self._artifacts.delete(part)
                    continue
                self._artifacts.renew(part)
                self.kept = self.kept.plus(part)
        except (ArtifactMissing, ArtifactCorrupt):
            pass  # what is missing is computed again


def _store(
    platform: Platform,
    job: Job,
    order: ReembedOrder,
    plan: _Plan,
    parts: Sequence[Digest],
    monitor: Monitor,
) -> StoredVectors:
    """Join the parts to one file, and store it with the images of its rows."""
    artifacts, rows = platform.artifacts, len(plan.entries)
    width = size = 0
    with artifacts.writer() as writer:
        for number, part in enumerate(parts):
            monitor.advance("storing", number, len(parts))
            vectors = vectors_of(artifacts.get(part, monitor.moved))
            if number == 0:
                width = len(vectors) // len(plan.parts[0]) // VALUE_BYTES
                header = npy_header(rows, width)
                size = len(header) + rows * width * VALUE_BYTES
                writer.write(header)
            writer.write(vectors)
        artifact = writer.commit(monitor.moved)
    lines = json_lines({"pixels": one.pixels, "texts": list(one.texts)} for one in plan.entries)
    return StoredVectors(
        model=plan.model.id,
        version=plan.version.number,
        dataset=order.dataset,
        dataset_version=order.dataset_version,
        digest=plan.version.digest,
        artifact=artifact,
        size=size,
        images=artifacts.put(lines, monitor.moved),
        rows=rows,
        width=width,
        job=job.id,
        created_at=platform.clock(),
    )


def _commit(platform: Platform, job: Job, plan: _Plan, stored: StoredVectors) -> None:
    """Record the vectors, unless an image, the version or the dataset version is gone."""
    now = platform.clock()
    with platform.transactions() as work:
        work[Datasets].lock(stored.dataset)  # as an erasure does
        work[Datasets].version(stored.dataset, stored.dataset_version)
        require_unerased(work, plan.entries, ERASED)
        work[Versions].get(plan.model.id, stored.version, lock=True).require_weights()
        dataset = work[Datasets].get(stored.dataset).name
        work[Vectors].put(stored)
        audit.record(
            work,
            Action.VECTORS_STORED,
            f"models/{plan.model.name}/versions/{stored.version}/vectors/{dataset}/"
            f"{stored.dataset_version}",
            now=now,
            after={"artifact": stored.artifact, "digest": stored.digest, "rows": stored.rows},
            actor=f"job {job.id}",
        )
        names = ("version", "digest", "artifact", "size", "rows", "width")
        result = {name: getattr(stored, name) for name in names}
        work[Jobs].finish(job.succeed(result, now), job.fence)
        work.commit()


# The deletion of stored vectors.


def find_vectors(
    work: Work, model: str, version: int, dataset: str, dataset_version: int
) -> tuple[Model, StoredVectors]:
    """Return a model, and the vectors of a dataset version by one of its versions.

    Raises ModelNotFound, VersionNotFound, DatasetNotFound or VectorsNotFound.
    """
    found = work[Models].get(model)
    number = work[Versions].get(found.id, version).number
    ref = DatasetRef(dataset=work[Datasets].get(dataset).id, version=dataset_version)
    return found, work[Vectors].get(found.id, number, ref)


def delete_vectors(
    platform: Platform, *, model: str, version: int, dataset: str, dataset_version: int
) -> None:
    """Delete the vectors of a dataset version; garbage collection deletes their files.

    Raises what `find_vectors` raises.
    """
    with platform.transactions() as work:
        found, stored = find_vectors(work, model, version, dataset, dataset_version)
        ref = DatasetRef(dataset=stored.dataset, version=stored.dataset_version)
        work[Vectors].remove(found.id, stored.version, ref)
        name = work[Datasets].get(stored.dataset).name
        audit.record(
            work,
            Action.VECTORS_DELETED,
            f"models/{found.name}/versions/{version}/vectors/{name}/{dataset_version}",
            now=platform.clock(),
            before={"artifact": stored.artifact},
        )
        work.commit()
