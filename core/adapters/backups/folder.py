"""A back-up on disk: artifacts, rows in parts, a list of both, and which list counts."""

import fcntl
import gzip
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from core.adapters.artifacts.local import LocalArtifacts
from core.domain.values import Digest, Json, canonical_json
from core.errors import ArtifactMissing, Conflict, Corrupt, NotFound, StorageFull, is_full_disk

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Listed:
    """What a back-up holds."""

    database: Json  # what `Snapshot.dump` gave
    artifacts: tuple[Digest, ...]

    @property
    def parts(self) -> set[Digest]:
        """The rows' parts."""
        return {part for table in self.database["tables"].values() for part in table["parts"]}

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(table["rows"] for table in self.database["tables"].values())


class BackupFolder:
    """`artifacts/` and `rows/` hold bytes by their SHA-256; `backup.json` names one list of rows/.

    It is written last and at once: until then the folder is the back-up before.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pointer = path / "backup.json"
        self.artifacts = LocalArtifacts(path / "artifacts")
        self.rows = LocalArtifacts(path / "rows")

    @contextmanager
    def written(self) -> Iterator[None]:
        """Make the folder and keep others out. Raises Conflict while somebody is in it."""
        made = not self._path.exists()
        self._path.mkdir(parents=True, exist_ok=True)
        try:
            with self._locked(fcntl.LOCK_EX):
                yield
        finally:
            if made:
                with suppress(OSError):  # as a rule it is not empty
                    self._path.rmdir()

    @contextmanager
    def read(self) -> Iterator[Listed]:
        """What is there, and nobody writes meanwhile.

        Raises NotFound where no back-up was finished, Corrupt when what counts is damaged,
        Conflict while somebody writes.
        """
        if not self._pointer.is_file():
            raise NotFound(f"{self._path} holds no finished back-up: backup.json is missing.")
        with self._locked(fcntl.LOCK_SH):
            listed = self._listed()
            for part in listed.parts:
                self.rows.get(part)
            yield listed

    def finish(self, listed: Listed, made_at: str) -> None:
        """Make this the back-up that counts, and forget the rows of the one before.

        Raises StorageFull.
        """
        content = {"database": listed.database, "artifacts": sorted(listed.artifacts)}
        name = self.rows.put(gzip.compress(canonical_json(content), mtime=0))
        self._point_to({"format": FORMAT, "made_at": made_at, "list": name})
        for old in set(self.rows.digests()) - listed.parts - {name}:
            self.rows.delete(old)
        for store in (self.rows, self.artifacts):
            store.sweep(0.0)

    def _listed(self) -> Listed:
        try:
            pointer = json.loads(self._pointer.read_bytes())
            known = pointer["format"] == FORMAT
            content = json.loads(gzip.decompress(self.rows.get(pointer["list"]))) if known else {}
        except (ValueError, TypeError, KeyError, AttributeError, ArtifactMissing) as error:
            raise Corrupt(f"{self._pointer} is damaged, or what it names is gone.") from error
        if not known:
            raise Conflict(f"{self._pointer} has the format {pointer['format']}, not {FORMAT}.")
        return Listed(database=content["database"], artifacts=tuple(content["artifacts"]))

    def _point_to(self, pointer: Json) -> None:
        temporary = self._pointer.with_suffix(".new")
        try:
            with temporary.open("wb") as file:
                file.write(canonical_json(pointer))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._pointer)
            self._sync()
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            if is_full_disk(error):
                raise StorageFull from error
            raise

    def _sync(self) -> None:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(descriptor, how | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(f"Somebody else is writing or restoring {self._path}.") from None
            yield
        finally:
            os.close(descriptor)
