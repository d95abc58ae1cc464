"""Which artifacts the rows need: by name, or through lists that they name."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from core.domain.registry.version import Version, Weights
from core.domain.values import Digest
from core.errors import ArtifactCorrupt, ArtifactMissing
from core.ports import Artifacts, References
from core.use_cases.datasets.manifests import read_manifest


class Kind(StrEnum):
    """What an artifact is, as far as the rows tell."""

    WEIGHTS = "weights"  # the lists of tensors
    TENSOR = "tensor"
    IMAGE = "image"
    MANIFEST = "manifest"
    REPORT = "report"
    ANSWERS = "answers"
    CHECKPOINT = "checkpoint"
    UNKNOWN = "unknown"  # no row ever named it, or none does any more


@dataclass(frozen=True, kw_only=True)
class Needed:
    """Artifacts with their kinds, and lists that could not be read: what else there is to need."""

    kinds: dict[Digest, Kind]
    unreadable: list[Digest] = field(default_factory=list)


def named(rows: References, *, without: Collection[Version] = ()) -> dict[Kind, set[Digest]]:
    """What rows name, but for the weights of some versions; within one transaction."""
    return {
        Kind.IMAGE: rows.images(),  # first: see `References`
        Kind.MANIFEST: rows.manifests(),
        Kind.WEIGHTS: rows.weights(without=without),
        Kind.REPORT: rows.reports(),
        Kind.ANSWERS: rows.answers(),
        Kind.CHECKPOINT: rows.checkpoints(),
    }


def follow(artifacts: Artifacts, rows_name: Mapping[Kind, Collection[Digest]]) -> Needed:
    """What rows name, with all that the lists among it name. Raises ArtifactsUnavailable."""
    needed = Needed(kinds={})
    for digest in rows_name[Kind.MANIFEST]:
        try:
            entries = read_manifest(artifacts, digest).entries
        except (ArtifactMissing, ArtifactCorrupt):
            needed.unreadable.append(digest)
            continue
        needed.kinds.update(dict.fromkeys((entry.artifact for entry in entries), Kind.IMAGE))
    for digest in rows_name[Kind.WEIGHTS]:
        try:
            needed.kinds.update(tensors_of(artifacts, digest))
        except (ArtifactMissing, ArtifactCorrupt):
            needed.unreadable.append(digest)
    for kind, digests in rows_name.items():
        needed.kinds.update(dict.fromkeys(digests, kind))
    return needed


def tensors_of(artifacts: Artifacts, weights: Digest) -> dict[Digest, Kind]:
    """The tensors of a list. Raises ArtifactMissing, ArtifactCorrupt or ArtifactsUnavailable."""
    listed = Weights.from_bytes(artifacts.get(weights)).tensors
    return {tensor.digest: Kind.TENSOR for tensor in listed}
