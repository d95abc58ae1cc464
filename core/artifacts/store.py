"""The artifact store, as all its users see it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from core.values import Digest


@dataclass(frozen=True, kw_only=True)
class StoredArtifact:
    """An artifact's metadata, known without reading its bytes."""

    digest: Digest
    size: int  # bytes
    age_s: float  # since its last `put`, by the store's clock


BytesCallback = Callable[[int], object]
"""Callback with the number of bytes just hashed, written, sent or read; 0 during a bounded wait.

May be called from any thread. What it raises aborts the transfer, which then leaves nothing behind.
"""


def ignore_bytes(count: int) -> None:
    """Ignore the bytes that a transfer reports."""


class ArtifactWriter(Protocol):
    """Bytes that arrive in pieces and are not stored before `commit`."""

    def write(self, piece: bytes) -> None:
        """Add a piece."""

    def commit(self, moved: BytesCallback = ignore_bytes) -> Digest:
        """Store all pieces durably as one artifact and return its digest, as `put` does."""


class ArtifactBatch(Protocol):
    """Small artifacts that arrive one by one and are stored together, at `commit`."""

    def add(self, data: bytes) -> Digest:
        """Add an artifact and return its digest; safe to call from several threads."""

    def commit(self) -> None:
        """Store all artifacts durably, as `put` does, once every `add` has returned."""


class Artifacts(Protocol):
    """Bytes by their SHA-256. Writing the same bytes twice stores them once."""

    def put(self, data: bytes | memoryview, moved: BytesCallback = ignore_bytes) -> Digest:
        """Store bytes durably and return their digest; reset the age of bytes already stored.

        The bytes of a view must not change meanwhile. Raises StorageFull with `needed_bytes` and,
        if the store knows it, `free_bytes`, leaving nothing behind; or ArtifactsUnavailable.
        """

    def get(self, digest: Digest, moved: BytesCallback = ignore_bytes) -> bytes:
        """Return the verified bytes.

        Raises ArtifactMissing, ArtifactCorrupt or ArtifactsUnavailable.
        """

    def writer(self) -> AbstractContextManager[ArtifactWriter]:
        """Return a writer for an artifact too large for memory; without `commit`, nothing stays.

        When no room is left, StorageFull leaves the context, as does ArtifactsUnavailable.
        """

    def batch(self) -> AbstractContextManager[ArtifactBatch]:
        """Return a batch of small artifacts; without `commit`, nothing stays.

        When no room is left, StorageFull leaves the context, as does ArtifactsUnavailable.
        """

    def pieces(self, digest: Digest, moved: BytesCallback = ignore_bytes) -> Iterator[bytes]:
        """Yield the bytes in pieces, never all in memory; verified only when the last was yielded.

        Raises ArtifactMissing, ArtifactsUnavailable or, after the last piece, ArtifactCorrupt.
        """

    def verify(self, digest: Digest) -> None:
        """Verify stored bytes; a store that can tell that they are as they were need not read them.

        Raises ArtifactMissing, ArtifactCorrupt or ArtifactsUnavailable.
        """

    def renew(self, digest: Digest) -> None:
        """Verify stored bytes and reset their age as `put` does, without sending or writing them.

        Raises ArtifactMissing, ArtifactCorrupt or ArtifactsUnavailable.
        """

    def has(self, digest: Digest) -> bool:
        """Return whether the bytes are stored (not verified)."""

    def delete(self, digest: Digest) -> None:
        """Delete the bytes; no error if they are not stored."""

    def delete_if_older(self, digest: Digest, older_than_s: float) -> bool:
        """Delete bytes last put at least `older_than_s` seconds ago; return whether deleted.

        A concurrent `put` takes precedence: once it has returned, the bytes are stored.
        """

    def digests(self) -> Iterator[Digest]:
        """Yield the digests of all stored artifacts, in no particular order."""

    def stored(self) -> Iterator[StoredArtifact]:
        """Yield all stored artifacts, in no particular order."""

    def sweep(self, older_than_s: float) -> int:
        """Delete the temporary files of dead writers; return how many.

        These are the files that are at least `older_than_s` seconds old.
        """

    def free_bytes(self) -> int:
        """Return the free space in bytes."""


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
    GRAPHS = "graphs"  # of an architecture, for engines other than torch
    ARCHIVE = "archive"  # that an import reads, or a part of an upload
    UNKNOWN = "unknown"  # no row ever named it, or none does any more
