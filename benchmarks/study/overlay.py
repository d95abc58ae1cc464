"""Weights of a run beside the images of all runs."""

from collections.abc import Iterator

from core.domain.values import Digest
from core.errors import ArtifactMissing
from core.ports import Artifacts, Moved, StoredArtifact, nobody


class Overlay:
    """ports.Artifacts that writes to one store and reads from two.

    What a run makes can then go with its folder, while another process reads the images.
    """

    def __init__(self, top: Artifacts, below: Artifacts) -> None:
        self._top = top
        self._below = below

    def put(self, data: bytes | memoryview, moved: Moved = nobody) -> Digest:
        """Store on top."""
        return self._top.put(data, moved)

    def get(self, digest: Digest, moved: Moved = nobody) -> bytes:
        """From the top, or from below. Raises ArtifactMissing or ArtifactCorrupt."""
        try:
            return self._top.get(digest, moved)
        except ArtifactMissing:
            return self._below.get(digest, moved)

    def has(self, digest: Digest) -> bool:
        """Whether either has it."""
        return self._top.has(digest) or self._below.has(digest)

    def delete(self, digest: Digest) -> None:
        """Forget it on top."""
        self._top.delete(digest)

    def collect(self, digest: Digest, older_than_s: float) -> bool:
        """Forget it on top, if it is that old."""
        return self._top.collect(digest, older_than_s)

    def digests(self) -> Iterator[Digest]:
        """Those on top."""
        return self._top.digests()

    def stored(self) -> Iterator[StoredArtifact]:
        """Those on top."""
        return self._top.stored()

    def sweep(self, older_than_s: float) -> int:
        """Sweep the top."""
        return self._top.sweep(older_than_s)

    def free_bytes(self) -> int:
        """Room left on top."""
        return self._top.free_bytes()
