"""An artifact store in a dict, for tests that are about something else."""

from __future__ import annotations

from collections.abc import Iterator

from core.domain.values import Digest, sha256
from core.errors import ArtifactCorrupt, ArtifactMissing


class MemoryArtifacts:
    """ports.Artifacts in memory; `bytes_of` may be tampered with."""

    def __init__(self) -> None:
        self.bytes_of: dict[Digest, bytes] = {}

    def put(self, data: bytes) -> Digest:
        digest = sha256(data)
        self.bytes_of[digest] = data
        return digest

    def get(self, digest: Digest) -> bytes:
        if digest not in self.bytes_of:
            raise ArtifactMissing(digest=digest)
        if sha256(self.bytes_of[digest]) != digest:
            raise ArtifactCorrupt(digest=digest)
        return self.bytes_of[digest]

    def has(self, digest: Digest) -> bool:
        return digest in self.bytes_of

    def delete(self, digest: Digest) -> None:
        self.bytes_of.pop(digest, None)

    def digests(self) -> Iterator[Digest]:
        return iter(tuple(self.bytes_of))

    def sweep(self, older_than_s: float) -> int:
        return 0

    def free_bytes(self) -> int:
        return 2**40
