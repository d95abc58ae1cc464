"""Files that are written one by one and get their names together."""

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from core.adapters.artifacts.local_files import write_whole
from core.domain.values import Digest, sha256


class FileBatch:
    """The `ArtifactBatch` port over a folder of synced files; safe to share between threads."""

    def __init__(self, folder: Path, name: Callable[[Iterable[tuple[Path, Digest]]], None]) -> None:
        """Write into `folder`; `name` gives files their names, all at once."""
        self._folder = folder
        self._name = name
        self._digests: set[Digest] = set()
        self._lock = threading.Lock()

    def add(self, data: bytes) -> Digest:
        """Write bytes, sync and compare them; return their digest. Raises ArtifactCorrupt."""
        digest = sha256(data)
        with self._lock:
            if digest in self._digests:
                return digest
            self._digests.add(digest)
        write_whole(self._folder / digest, data, digest)
        return digest

    def commit(self) -> None:
        """Give all files their names."""
        self._name([(self._folder / digest, digest) for digest in self._digests])
