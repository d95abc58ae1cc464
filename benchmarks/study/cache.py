"""The cache of finished runs: one file per run, named by a hash of everything that decides it."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.values import Digest, canonical_json, sha256

SCHEMA = 1  # raised when a change of the code changes the results of the same run


def key_of(**facts: Any) -> Digest:
    """Return the key of a run."""
    return sha256(canonical_json({"schema": SCHEMA, **facts}))


class ResultsCache:
    """A folder of finished runs, to which several processes may write at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, key: Digest) -> dict[str, Any] | None:
        """Return the record of a finished run, or None."""
        path = self._path(key)
        found: dict[str, Any] | None = json.loads(path.read_bytes()) if path.is_file() else None
        return found

    def write(self, key: Digest, record: Mapping[str, Any]) -> None:
        """Write a run's record as one line, atomically."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(canonical_json(record) + b"\n")
        fresh.replace(path)

    @contextmanager
    def claim(self, key: Digest) -> Iterator[bool]:
        """Claim a run within the context; yield False if another process holds the claim.

        A claim ends with its process at the latest.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{key[:32]}.claim").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def _path(self, key: Digest) -> Path:
        return self._folder / f"{key[:32]}.json"
