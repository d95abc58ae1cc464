"""Files that were read and verified a short while ago, which are not read again until written."""

import time
from collections.abc import Callable
from os import stat_result
from pathlib import Path
from typing import NamedTuple

from core.adapters.artifacts.local_files import read_verified
from core.domain.values import Digest
from core.ports import ignore_bytes

VERIFIED_FOR_S = 3600.0  # then a file is read again: disks lose bytes without a write
SETTLED_S = 2.0  # a file written later may be written again within one tick of its file system
MOST = 50_000  # files to remember


class _Facts(NamedTuple):
    """The facts of a file, one of which changes whenever it is written or replaced."""

    inode: int
    size: int
    written_ns: int
    changed_ns: int

    @classmethod
    def of(cls, found: stat_result) -> "_Facts":
        return cls(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class VerifiedFiles:
    """Verifies files by their SHA-256; safe to share between threads.

    A file that was verified within the hour and that nothing has written since is not read again:
    the bytes would come from memory, and reading those of a large version takes seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._verified: dict[Digest, tuple[_Facts, float]] = {}  # each with when it was verified

    def verify(self, path: Path, digest: Digest) -> None:
        """Verify the bytes of a file. Raises FileNotFoundError or ArtifactCorrupt."""
        found, now = path.stat(), self._clock()
        facts = _Facts.of(found)
        before, at = self._verified.get(digest, (None, 0.0))
        if facts == before and 0 <= now - at < VERIFIED_FOR_S:
            return
        for _ in read_verified(path, digest, ignore_bytes):
            pass
        if now - found.st_ctime >= SETTLED_S:
            if len(self._verified) >= MOST:
                self._verified.clear()
            self._verified[digest] = facts, now
