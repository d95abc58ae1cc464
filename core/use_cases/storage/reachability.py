"""Artifacts that rows name, directly or through the lists that they name."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from core.domain.registry.version import Version, Weights
from core.domain.values import Digest
from core.domain.vectors.vector_parts import VectorParts
from core.errors import ArtifactCorrupt, ArtifactMissing
from core.ports import ArtifactRoots, Artifacts
from core.use_cases.datasets.manifests import read_manifest


class ArtifactKind(StrEnum):
    """The kind of an artifact, by the rows that name it."""

    WEIGHTS = "weights"  # the lists of tensors
    TENSOR = "tensor"
    STATISTICS = "statistics"  # of the image features of one class
    IMAGE = "image"
    MANIFEST = "manifest"
    REPORT = "report"
    ANSWERS = "answers"
    CHECKPOINT = "checkpoint"
    EXPORT = "export"  # the file of an export
    VECTORS = "vectors"  # of images, also of a job that has not ended, and bridges
    VECTOR_PARTS = "vector_parts"  # the list of what such a job has stored
    ARCHIVE = "archive"  # that an import reads, or a part of an upload
    UNKNOWN = "unknown"  # no row ever named it, or none does any more


@dataclass(frozen=True, kw_only=True)
class Reachable:
    """Artifacts with their kinds, and lists that could not be read: what else there is to need."""

    kinds: dict[Digest, ArtifactKind]
    unreadable: list[Digest] = field(default_factory=list)


def roots_of(
    rows: ArtifactRoots, *, without: Collection[Version] = ()
) -> dict[ArtifactKind, set[Digest]]:
    """Return the artifacts that rows name; of some versions, no weights or feature statistics."""
    return {
        ArtifactKind.IMAGE: rows.images(),  # first: see `ArtifactRoots`
        ArtifactKind.MANIFEST: rows.manifests(),
        ArtifactKind.WEIGHTS: rows.weights(without=without),
        ArtifactKind.STATISTICS: rows.feature_statistics(without=without),
        ArtifactKind.REPORT: rows.reports(),
        ArtifactKind.ANSWERS: rows.answers(),
        ArtifactKind.CHECKPOINT: rows.checkpoints(),
        ArtifactKind.EXPORT: rows.exports(),
        ArtifactKind.VECTORS: rows.vectors(),
        ArtifactKind.VECTOR_PARTS: rows.vector_parts(),
        ArtifactKind.ARCHIVE: rows.archives(),
    }


def expand(
    artifacts: Artifacts,
    rows_name: Mapping[ArtifactKind, Collection[Digest]],
    *,
    erased: Collection[Digest],
) -> Reachable:
    """Return every artifact reachable from the rows, except images that were erased.

    Raises ArtifactsUnavailable.
    """
    needed = Reachable(kinds={})
    for digest in rows_name[ArtifactKind.MANIFEST]:
        try:
            entries = read_manifest(artifacts, digest).entries
        except (ArtifactMissing, ArtifactCorrupt):
            needed.unreadable.append(digest)
            continue
        needed.kinds.update(
            dict.fromkeys(
                (entry.artifact for entry in entries if entry.artifact not in erased),
                ArtifactKind.IMAGE,
            )
        )
    for digest in rows_name[ArtifactKind.WEIGHTS]:
        try:
            needed.kinds.update(tensors_of(artifacts, digest))
        except (ArtifactMissing, ArtifactCorrupt):
            needed.unreadable.append(digest)
    for digest in rows_name[ArtifactKind.VECTOR_PARTS]:
        try:
            parts = VectorParts.from_bytes(artifacts.get(digest)).parts
        except (ArtifactMissing, ArtifactCorrupt):
            continue  # the job computes them again
        needed.kinds.update(dict.fromkeys(parts, ArtifactKind.VECTORS))
    for kind, digests in rows_name.items():
        needed.kinds.update(dict.fromkeys(digests, kind))
    return needed


def tensors_of(artifacts: Artifacts, weights: Digest) -> dict[Digest, ArtifactKind]:
    """Return the tensors of a list.

    Raises ArtifactMissing, ArtifactCorrupt or ArtifactsUnavailable.
    """
    listed = Weights.from_bytes(artifacts.get(weights)).tensors
    return {tensor.digest: ArtifactKind.TENSOR for tensor in listed}
