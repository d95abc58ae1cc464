"""Back up the whole service into a folder, and restore it: database and artifacts.

A back-up depends neither on the kind of database nor on the kind of store: what was backed up from
SQLite and a folder can be restored into PostgreSQL and S3.
"""

import fcntl
import gzip
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

from core import bootstrap, errors
from core.artifacts.local import LocalArtifacts
from core.artifacts.store import ArtifactKind, Artifacts
from core.backup.dump import fill, require_fillable, snapshot
from core.settings import Settings
from core.upkeep.gc import Reachable, expand, roots_of
from core.upkeep.rows import ArtifactRoots
from core.values import Digest, Json, canonical_json

TRIES = 3


@dataclass(kw_only=True)
class Copied:
    """The result of copying artifacts."""

    kept: set[Digest] = field(default_factory=set)  # whole in the target before
    copied: dict[Digest, int] = field(default_factory=dict)  # digest to bytes
    missing: set[Digest] = field(default_factory=set)  # in the source; nor is it in the target
    damaged: set[Digest] = field(default_factory=set)  # in the source; nor is it in the target

    @property
    def lost(self) -> set[Digest]:
        """The artifacts that the target does not hold."""
        return self.missing | self.damaged


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The rows and artifacts that a back-up or a restore has copied."""

    rows: int
    artifacts: Copied
    forgotten: int = 0  # artifacts of earlier back-ups that were deleted


def back_up(settings: Settings, folder: Path) -> Outcome:
    """Write all rows and the artifacts reachable from them into a folder; copy only what is new.

    Images that were erased since are deleted from it with what was made of them, as are archives
    whose import has ended, and what no back-up has needed for as long as the settings say. The
    service may run meanwhile. If artifacts are lost, the rest is backed up, and the outcome names
    them. Raises NotFound, Conflict, UnsafeConfiguration, StorageFull, Unavailable or OSError; the
    folder then still holds its previous back-up.
    """
    _require_apart(settings, folder)
    target, done = BackupFolder(folder), Copied()
    with bootstrap.opened(settings) as platform, target.written():
        for _ in range(TRIES):
            before = done.lost
            with snapshot(settings.database) as seen:
                database, roots = seen.dump(target.rows.put), roots_of(seen.references)
                erased = seen.references.erased()
                spent = seen.references.spent_archives() | seen.references.derived()
            needed = _copy(platform.artifacts, target.artifacts, roots, erased, done)
            # Try again: newer roots lack an artifact collected meanwhile or of an ended job.
            if not done.lost or done.lost == before:
                break
        now, earlier = platform.clock(), target.unneeded()
        stored = set(target.artifacts.digests())
        unneeded = {one: earlier.get(one, now.isoformat()) for one in stored - needed.kinds.keys()}
        listed = BackupContents(database=database, artifacts=tuple(needed.kinds), unneeded=unneeded)
        target.finish(listed, now.isoformat())
        gone = stored & (erased | spent)  # that an earlier back-up has copied
        if not needed.unreadable:  # or else what these lists name is unknown
            until = now - timedelta(days=settings.backup_days)
            gone |= {one for one, at in unneeded.items() if datetime.fromisoformat(at) <= until}
        for one in gone:
            target.artifacts.delete(one)
    return Outcome(rows=listed.rows, artifacts=done, forgotten=len(gone))


def restore(settings: Settings, folder: Path, *, artifacts_only: bool = False) -> Outcome:
    """Fill an empty database and a store from a back-up, artifacts first and rows last.

    With `artifacts_only`, the database stays as it is, and only missing or damaged artifacts are
    restored, without images that were erased since. Raises NotFound, Corrupt, Conflict or
    UnsafeConfiguration before anything is written. After StorageFull, Unavailable or OSError the
    restore can be repeated.
    """
    _require_apart(settings, folder)
    source, done = BackupFolder(folder), Copied()
    with bootstrap.opened(settings) as platform, source.read() as listed:
        if not artifacts_only:
            require_fillable(settings.database, listed.database["revision"])
        wanted = set(listed.artifacts)
        if artifacts_only:
            bootstrap.require_own_database(settings)
            with platform.transactions(read_only=True) as work:
                wanted -= work[ArtifactRoots].erased() | work[ArtifactRoots].derived()
        copy_artifacts(source.artifacts, platform.artifacts, wanted, done)
        if not artifacts_only:
            fill(settings.database, listed.database, source.rows.get)
    return Outcome(rows=0 if artifacts_only else listed.rows, artifacts=done)


def _copy(
    source: Artifacts,
    target: Artifacts,
    roots: dict[ArtifactKind, set[Digest]],
    erased: set[Digest],
    done: Copied,
) -> Reachable:
    """Copy every artifact reachable from the roots; return those that the back-up must hold.

    Jobs replace their checkpoints while they run, and can do without them: missing checkpoints do
    not count.
    """
    copy_artifacts(source, target, roots[ArtifactKind.MANIFEST] | roots[ArtifactKind.WEIGHTS], done)
    needed = expand(target, roots, erased=erased)
    copy_artifacts(source, target, needed.kinds, done)
    for digest in list(done.missing):
        if needed.kinds.get(digest) == ArtifactKind.CHECKPOINT:
            del needed.kinds[digest]
    done.missing &= needed.kinds.keys()
    done.damaged &= needed.kinds.keys()
    return needed


def _require_apart(settings: Settings, folder: Path) -> None:
    if (folder / "artifacts").resolve() == settings.artifacts.resolve():
        raise errors.FieldInvalid(
            f"{folder} contains the service's own artifacts: choose another folder."
        )


# Copies of artifacts, each of them verified.

AT_ONCE = 4  # artifacts, each of them in memory
BATCH = 200  # checked at least this often for a full disk


def copy_artifacts(
    source: Artifacts, target: Artifacts, digests: Iterable[Digest], done: Copied
) -> None:
    """Copy artifacts into the target, except those that are intact there or are in `done`.

    Afterwards each has been read and matches its digest, except those that `done` lists as lost.
    Raises StorageFull or ArtifactsUnavailable.
    """

    def copy(digest: Digest) -> int | errors.ArtifactMissing | errors.ArtifactCorrupt | None:
        if _is_whole(target, digest):
            return None
        try:
            data = source.get(digest)
        except (errors.ArtifactMissing, errors.ArtifactCorrupt) as fault:
            return fault
        target.put(data)
        return len(data)

    waiting = iter([one for one in digests if one not in done.kept and one not in done.copied])
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="copy") as pool:
        while batch := list(islice(waiting, BATCH)):
            for digest, result in zip(batch, pool.map(copy, batch), strict=True):
                _note(done, digest, result)


def _note(
    done: Copied,
    digest: Digest,
    result: int | errors.ArtifactMissing | errors.ArtifactCorrupt | None,
) -> None:
    done.missing.discard(digest)
    done.damaged.discard(digest)
    match result:
        case None:
            done.kept.add(digest)
        case int():
            done.copied[digest] = result
        case errors.ArtifactMissing():
            done.missing.add(digest)
        case errors.ArtifactCorrupt():
            done.damaged.add(digest)


def _is_whole(store: Artifacts, digest: Digest) -> bool:
    try:
        store.get(digest)
    except (errors.ArtifactMissing, errors.ArtifactCorrupt):
        return False
    return True


# The folder: artifacts, rows in parts, and a pointer to the current list of both.

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class BackupContents:
    """The contents of a back-up."""

    database: Json  # as returned by `Snapshot.dump`
    artifacts: tuple[Digest, ...]
    unneeded: Mapping[Digest, str]  # artifacts of earlier ones, and since when none needs them

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
            raise errors.NotFound(f"{self._path} has no finished back-up: backup.json is missing.")
        with self._locked(fcntl.LOCK_SH):
            listed = self._listed()
            for part in listed.parts:
                self.rows.get(part)
            yield listed

    def finish(self, listed: BackupContents, made_at: str) -> None:
        """Make this the current back-up and delete the rows of the previous one.

        Raises StorageFull.
        """
        content = {**vars(listed), "artifacts": sorted(listed.artifacts)}
        name = self.rows.put(gzip.compress(canonical_json(content), mtime=0))
        self._point_to({"format": FORMAT, "made_at": made_at, "list": name})
        for old in set(self.rows.digests()) - listed.parts - {name}:
            self.rows.delete(old)
        for store in (self.rows, self.artifacts):
            store.sweep(0.0)

    def unneeded(self) -> Mapping[Digest, str]:
        """Return what the current back-up does not need, and since when; nothing without one."""
        with suppress(OSError, errors.Corrupt, errors.Conflict):
            return self._listed().unneeded
        return {}

    def _listed(self) -> BackupContents:
        try:
            pointer = json.loads(self._pointer.read_bytes())
            known = pointer["format"] == FORMAT
            content = json.loads(gzip.decompress(self.rows.get(pointer["list"]))) if known else {}
        except (ValueError, TypeError, KeyError, AttributeError, errors.ArtifactMissing) as error:
            raise errors.Corrupt(
                f"{self._pointer} or the list that it names is damaged."
            ) from error
        if not known:
            raise errors.Conflict(
                f"{self._pointer} has format {pointer['format']}; this release reads {FORMAT}."
            )
        return BackupContents(**{**content, "artifacts": tuple(content["artifacts"])})

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
            if errors.is_full_disk(error):
                raise errors.StorageFull from error
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
                raise errors.Conflict(
                    f"Another process is using the back-up {self._path}."
                ) from None
            yield
        finally:
            os.close(descriptor)
