"""A back-up on disk: artifacts, rows in parts, and a pointer to the current list of both."""

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
class BackupContents:
    """The contents of a back-up."""

    database: Json  # as returned by `Snapshot.dump`
    artifacts: tuple[Digest, ...]

    @property
    def parts(self) -> set[Digest]:
        """The digests of the parts that hold rows."""
        return {part for table in self.database["tables"].values() for part in table["parts"]}

    @property
    def rows(self) -> int:
        """The number of rows."""
        return sum(table["rows"] for table in self.database["tables"].values())


class BackupFolder:
    """A folder whose `artifacts/` and `rows/` hold bytes by their SHA-256.

    `backup.json` names the list in `rows/` that is current. It is replaced last and atomically;
    until then the folder holds the previous back-up.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pointer = path / "backup.json"
        self.artifacts = LocalArtifacts(path / "artifacts")
        self.rows = LocalArtifacts(path / "rows")

    @contextmanager
    def written(self) -> Iterator[None]:
        """Create the folder and lock it for writing. Raises Conflict while it is in use."""
        made = not self._path.exists()
        self._path.mkdir(parents=True, exist_ok=True)
        try:
            with self._locked(fcntl.LOCK_EX):
                yield
        finally:
            if made:
                with suppress(OSError):  # not empty, unless the back-up failed early
                    self._path.rmdir()

    @contextmanager
    def read(self) -> Iterator[BackupContents]:
        """Yield the contents of the current back-up, locked against writers.

        Raises NotFound if no back-up was finished, Corrupt if the current one's rows are damaged,
        and Conflict while another process writes.
        """
        if not self._pointer.is_file():
            raise NotFound(f"{self._path} has no finished back-up: backup.json is missing.")
        with self._locked(fcntl.LOCK_SH):
            listed = self._listed()
            for part in listed.parts:
                self.rows.get(part)
            yield listed

    def finish(self, listed: BackupContents, made_at: str) -> None:
        """Make this the current back-up and delete the rows of the previous one.

        Raises StorageFull.
        """
        content = {"database": listed.database, "artifacts": sorted(listed.artifacts)}
        name = self.rows.put(gzip.compress(canonical_json(content), mtime=0))
        self._point_to({"format": FORMAT, "made_at": made_at, "list": name})
        for old in set(self.rows.digests()) - listed.parts - {name}:
            self.rows.delete(old)
        for store in (self.rows, self.artifacts):
            store.sweep(0.0)

    def _listed(self) -> BackupContents:
        try:
            pointer = json.loads(self._pointer.read_bytes())
            known = pointer["format"] == FORMAT
            content = json.loads(gzip.decompress(self.rows.get(pointer["list"]))) if known else {}
        except (ValueError, TypeError, KeyError, AttributeError, ArtifactMissing) as error:
            raise Corrupt(f"{self._pointer} or the list that it names is damaged.") from error
        if not known:
            raise Conflict(
                f"{self._pointer} has format {pointer['format']}; this release reads {FORMAT}."
            )
        return BackupContents(database=content["database"], artifacts=tuple(content["artifacts"]))

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
                raise Conflict(f"Another process is using the back-up {self._path}.") from None
            yield
        finally:
            os.close(descriptor)
