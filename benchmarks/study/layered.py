"""An artifact store for one run's weights on top of the store of all runs' images."""

from collections.abc import Iterator
from contextlib import AbstractContextManager

from core.artifacts.store import (
    ArtifactBatch,
    Artifacts,
    ArtifactWriter,
    BytesCallback,
    StoredArtifact,
    ignore_bytes,
)
from core.errors import ArtifactMissing
from core.values import Digest


class LayeredArtifacts:
    """ports.Artifacts that writes to one store and reads from two.

    A run's artifacts can thus be deleted with its folder while other processes read the images.
    """

    def __init__(self, top: Artifacts, below: Artifacts) -> None:
        self._top = top
        self._below = below

    def put(self, data: bytes | memoryview, moved: BytesCallback = ignore_bytes) -> Digest:
        """Store an artifact on top."""
        return self._top.put(data, moved)

    def get(self, digest: Digest, moved: BytesCallback = ignore_bytes) -> bytes:
        """Read from the top, else from below. Raises ArtifactMissing or ArtifactCorrupt."""
        try:
            return self._top.get(digest, moved)
        except ArtifactMissing:
            return self._below.get(digest, moved)

    def writer(self) -> AbstractContextManager[ArtifactWriter]:
        """Return a writer of an artifact on top."""
        return self._top.writer()

    def batch(self) -> AbstractContextManager[ArtifactBatch]:
        """Return a batch of artifacts on top."""
        return self._top.batch()

    def pieces(self, digest: Digest, moved: BytesCallback = ignore_bytes) -> Iterator[bytes]:
        """Yield the pieces of an artifact on top, else of one below."""
        return (self._top if self._top.has(digest) else self._below).pieces(digest, moved)

    def verify(self, digest: Digest) -> None:
        """Verify an artifact on top, else one below."""
        (self._top if self._top.has(digest) else self._below).verify(digest)

    def renew(self, digest: Digest) -> None:
        """Reset the age of an artifact on top, else of one below."""
        (self._top if self._top.has(digest) else self._below).renew(digest)

    def has(self, digest: Digest) -> bool:
        """Return whether either store has an artifact."""
        return self._top.has(digest) or self._below.has(digest)

    def delete(self, digest: Digest) -> None:
        """Delete an artifact on top."""
        self._top.delete(digest)

    def delete_if_older(self, digest: Digest, older_than_s: float) -> bool:
        """Delete an artifact on top if it is older than `older_than_s`."""
        return self._top.delete_if_older(digest, older_than_s)

    def digests(self) -> Iterator[Digest]:
        """Iterate over the digests on top."""
        return self._top.digests()

    def stored(self) -> Iterator[StoredArtifact]:
        """Iterate over the artifacts on top."""
        return self._top.stored()

    def sweep(self, older_than_s: float) -> int:
        """Sweep the top store."""
        return self._top.sweep(older_than_s)

    def free_bytes(self) -> int:
        """Return the free space of the top store in bytes."""
        return self._top.free_bytes()
