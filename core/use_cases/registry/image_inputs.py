"""The input of a version's image tower, without loading the version."""

from core.domain.registry.image_input import ImageInput
from core.domain.registry.version import Weights
from core.domain.values import Digest
from core.errors import ArtifactMissing, NotServable
from core.ports import Artifacts

KNOWN = 1000  # versions


class ImageInputs:
    """Inputs by a version's digest, which they never change under; safe to share between threads.

    Those read first are forgotten first.
    """

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._known: dict[Digest, ImageInput] = {}

    def known(self, digest: Digest) -> ImageInput | None:
        """Return a version's input if it has been read before, and is not forgotten."""
        return self._known.get(digest)

    def of(self, digest: Digest) -> ImageInput:
        """Return a version's input. Raises NotServable without weights, or ArtifactCorrupt."""
        found = self.known(digest)
        if found is None:
            found = self._read(digest)
            for oldest in list(self._known)[: max(0, len(self._known) - KNOWN + 1)]:
                self._known.pop(oldest, None)
            self._known[digest] = found
        return found

    def _read(self, digest: Digest) -> ImageInput:
        try:
            data = self._artifacts.get(digest)
        except ArtifactMissing as fault:
            raise NotServable from fault
        return ImageInput.of(Weights.from_bytes(data).config)
