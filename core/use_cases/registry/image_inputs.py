"""The input of a version's image tower, without loading the version."""

from functools import lru_cache

from core.domain.registry.image_input import ImageInput
from core.domain.registry.version import Weights
from core.domain.values import Digest
from core.errors import ArtifactMissing, NotServable
from core.ports import Artifacts

KNOWN = 1000  # versions


class ImageInputs:
    """Inputs by a version's digest, which they never change under."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self.of = lru_cache(maxsize=KNOWN)(self._read)

    def _read(self, digest: Digest) -> ImageInput:
        """Return a version's input. Raises NotServable without weights, or ArtifactCorrupt."""
        try:
            data = self._artifacts.get(digest)
        except ArtifactMissing as fault:
            raise NotServable from fault
        return ImageInput.of(Weights.from_bytes(data).config)
