"""What has been run: one file a run, named by everything that decides it."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.domain.values import Digest, canonical_json, sha256

SCHEMA = 1  # raised when the code gives other numbers for the same run


def key_of(**facts: Any) -> Digest:
    """The name of a run."""
    return sha256(canonical_json({"schema": SCHEMA, **facts}))


class Ledger:
    """A folder of finished runs, which several processes may fill at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, key: Digest) -> dict[str, Any] | None:
        """A finished run."""
        path = self._path(key)
        found: dict[str, Any] | None = json.loads(path.read_bytes()) if path.is_file() else None
        return found

    def write(self, key: Digest, record: Mapping[str, Any]) -> None:
        """Add a run, as one line and at once."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(canonical_json(record) + b"\n")
        fresh.replace(path)

    @contextmanager
    def claim(self, key: Digest) -> Iterator[bool]:
        """Whether this process may run it now; the claim ends with the process at the latest."""
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
