"""Bytes, by their SHA-256."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Protocol

from core.domain.registry.version import Version
from core.domain.values import Digest


@dataclass(frozen=True, kw_only=True)
class StoredArtifact:
    """What a store says of one artifact without reading it."""

    digest: Digest
    size: int  # bytes
    age_s: float  # since its last `put`, by the store's clock


Moved = Callable[[int], object]
"""Told how many bytes were just hashed, written, sent or read; 0 for a wait that has an end.

May be called from any thread. What it raises ends the transfer, which then leaves nothing behind.
"""


def nobody(count: int) -> None:
    """Tell nobody of bytes that move."""


class Artifacts(Protocol):
    """Bytes by their SHA-256. Writing the same bytes twice stores them once."""

    def put(self, data: bytes | memoryview, moved: Moved = nobody) -> Digest:
        """Store durably and return the digest; what is there already is young again.

        Nobody may change a view's bytes meanwhile. Raises StorageFull with `needed_bytes` and,
        where the store tells, `free_bytes`, leaving nothing behind, or ArtifactsUnavailable.
        """

    def get(self, digest: Digest, moved: Moved = nobody) -> bytes:
        """The bytes, verified. Raises ArtifactMissing, ArtifactCorrupt or ArtifactsUnavailable."""

    def has(self, digest: Digest) -> bool:
        """Whether the bytes are there (not verified)."""

    def delete(self, digest: Digest) -> None:
        """Forget the bytes; no error when they are not there."""

    def collect(self, digest: Digest, older_than_s: float) -> bool:
        """Forget the bytes unless somebody has put them since; whether they were forgotten.

        A `put` that runs meanwhile wins: once it has returned, the bytes are there.
        """

    def digests(self) -> Iterator[Digest]:
        """All digests in the store, in no order."""

    def stored(self) -> Iterator[StoredArtifact]:
        """All artifacts in the store, in no order."""

    def sweep(self, older_than_s: float) -> int:
        """Remove temporaries that a dead writer left; how many."""

    def free_bytes(self) -> int:
        """Room left."""


class ArtifactRoots(Protocol):
    """Which artifacts rows name, by what they are. Ask for images first: freezing a dataset
    takes an image from the dataset's rows, where it may be removed, into a manifest.
    """

    def images(self) -> set[Digest]:
        """Of the images in datasets."""

    def manifests(self) -> set[Digest]:
        """Of dataset versions and suites."""

    def weights(self, *, without: Collection[Version] = ()) -> set[Digest]:
        """Of versions whose weights are not given up, and which are not among those named."""

    def reports(self) -> set[Digest]:
        """Of versions, and of jobs that have scored one."""

    def answers(self) -> set[Digest]:
        """Of versions to questions."""

    def checkpoints(self) -> set[Digest]:
        """Of unfinished jobs."""
