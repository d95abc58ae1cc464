"""Check that every byte of a version's weights is stored."""

from core.domain.registry.version import Version, Weights
from core.errors import ArtifactGone, ArtifactMissing
from core.ports import Artifacts


def require_weights(artifacts: Artifacts, version: Version) -> None:
    """Raise ArtifactGone or ArtifactCorrupt unless every byte of a version is there."""
    version.require_weights()
    if not artifacts.has(version.digest):
        raise ArtifactGone(version=version.number)
    for tensor in Weights.from_bytes(artifacts.get(version.digest)).tensors:
        try:
            artifacts.verify(tensor.digest)
        except ArtifactMissing as error:
            raise ArtifactGone(version=version.number, tensor=tensor.name) from error
