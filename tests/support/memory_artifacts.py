"""An artifact store in a dict, for tests that are about something else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from core.artifacts.store import BytesCallback, StoredArtifact, ignore_bytes
from core.errors import ArtifactCorrupt, ArtifactMissing
from core.values import Digest, sha256


class MemoryArtifacts:
    """ports.Artifacts in memory; `bytes_of` and `put_at` may be tampered with."""

    def __init__(self) -> None:
        self.bytes_of: dict[Digest, bytes] = {}
        self.put_at: dict[Digest, float] = {}  # epoch seconds

    def put(self, data: bytes | memoryview, moved: BytesCallback = ignore_bytes) -> Digest:
        moved(len(data))
        digest = sha256(data)
        self.bytes_of[digest] = bytes(data)
        self.put_at[digest] = time.time()
        return digest

    def get(self, digest: Digest, moved: BytesCallback = ignore_bytes) -> bytes:
        if digest not in self.bytes_of:
            raise ArtifactMissing(digest=digest)
        if sha256(self.bytes_of[digest]) != digest:
            raise ArtifactCorrupt(digest=digest)
        moved(len(self.bytes_of[digest]))
        return self.bytes_of[digest]

    @contextmanager
    def writer(self) -> Iterator[MemoryWriter]:
        yield MemoryWriter(self)

    @contextmanager
    def batch(self) -> Iterator[MemoryBatch]:
        yield MemoryBatch(self)

    def pieces(self, digest: Digest, moved: BytesCallback = ignore_bytes) -> Iterator[bytes]:
        data = self.get(digest, moved)
        yield from (data[start : start + 1000] for start in range(0, len(data), 1000))

    def verify(self, digest: Digest) -> None:
        self.get(digest)

    def renew(self, digest: Digest) -> None:
        self.get(digest)
        self.put_at[digest] = time.time()

    def has(self, digest: Digest) -> bool:
        return digest in self.bytes_of

    def delete(self, digest: Digest) -> None:
        self.bytes_of.pop(digest, None)

    def delete_if_older(self, digest: Digest, older_than_s: float) -> bool:
        old = self.has(digest) and time.time() - self.put_at.get(digest, 0.0) >= older_than_s
        if old:
            self.delete(digest)
        return old

    def digests(self) -> Iterator[Digest]:
        return iter(tuple(self.bytes_of))

    def stored(self) -> Iterator[StoredArtifact]:
        now = time.time()
        for digest, data in tuple(self.bytes_of.items()):
            yield StoredArtifact(
                digest=digest, size=len(data), age_s=now - self.put_at.get(digest, 0.0)
            )

    def sweep(self, older_than_s: float) -> int:
        return 0

    def free_bytes(self) -> int:
        return 2**40


class MemoryWriter:
    """ports.ArtifactWriter in memory."""

    def __init__(self, artifacts: MemoryArtifacts) -> None:
        self._artifacts = artifacts
        self._parts: list[bytes] = []

    def write(self, piece: bytes) -> None:
        self._parts.append(piece)

    def commit(self, moved: BytesCallback = ignore_bytes) -> Digest:
        return self._artifacts.put(b"".join(self._parts), moved)


class MemoryBatch:
    """ports.ArtifactBatch in memory."""

    def __init__(self, artifacts: MemoryArtifacts) -> None:
        self._artifacts = artifacts
        self._added: dict[Digest, bytes] = {}

    def add(self, data: bytes) -> Digest:
        digest = sha256(data)
        self._added[digest] = data
        return digest

    def commit(self) -> None:
        for data in self._added.values():
            self._artifacts.put(data)
