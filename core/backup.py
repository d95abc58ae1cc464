"""Back up the whole service into a folder, and restore it: database and artifacts.

A back-up depends neither on the kind of database nor on the kind of store: what was backed up
from SQLite and a folder can be restored into PostgreSQL and S3.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core import bootstrap
from core.adapters.backups.folder import BackupContents, BackupFolder
from core.adapters.database.storage.dump import snapshot
from core.adapters.database.storage.load import fill, require_fillable
from core.domain.values import Digest
from core.errors import FieldInvalid
from core.ports import Artifacts, Platform
from core.settings import Settings
from core.use_cases.storage.copy_artifacts import Copied, copy_artifacts
from core.use_cases.storage.reachability import ArtifactKind, expand, roots_of

TRIES = 3


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The rows and artifacts that a back-up or a restore has copied."""

    rows: int
    artifacts: Copied


def back_up(settings: Settings, folder: Path) -> Outcome:
    """Write all rows and the artifacts reachable from them into a folder; copy only what is new.

    Images that were erased since are deleted from it, and so are archives whose import has ended.
    The service may run meanwhile. If artifacts are lost, the rest is backed up, and the outcome
    names them. Raises NotFound, Conflict, StorageFull, Unavailable or OSError; the folder then
    still holds its previous back-up.
    """
    _require_apart(settings, folder)
    target, done = BackupFolder(folder), Copied()
    with _opened(settings) as platform, target.written():
        for _ in range(TRIES):
            before = done.lost
            with snapshot(settings.database) as seen:
                database, roots = seen.dump(target.rows.put), roots_of(seen.references)
                erased = seen.references.erased()
                spent = seen.references.spent_archives()
            artifacts = _copy(platform.artifacts, target.artifacts, roots, erased, done)
            # Try again: newer roots lack an artifact collected meanwhile or of an ended job.
            if not done.lost or done.lost == before:
                break
        listed = BackupContents(database=database, artifacts=tuple(artifacts))
        target.finish(listed, platform.clock().isoformat())
        for gone in erased | spent:  # that an earlier back-up has copied
            target.artifacts.delete(gone)
    return Outcome(rows=listed.rows, artifacts=done)


def restore(settings: Settings, folder: Path, *, artifacts_only: bool = False) -> Outcome:
    """Fill an empty database and a store from a back-up, artifacts first and rows last.

    With `artifacts_only`, the database stays as it is, and only missing or damaged artifacts are
    restored, without images that were erased since. Raises NotFound, Corrupt or Conflict before
    anything is written. After StorageFull, Unavailable or OSError the restore can be repeated.
    """
    _require_apart(settings, folder)
    source, done = BackupFolder(folder), Copied()
    with _opened(settings) as platform, source.read() as listed:
        if not artifacts_only:
            require_fillable(settings.database, listed.database["revision"])
        wanted = set(listed.artifacts)
        if artifacts_only:
            with platform.transactions(read_only=True) as work:
                wanted -= work.references.erased()
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
) -> set[Digest]:
    """Copy every artifact reachable from the roots; return those that the back-up must hold.

    Jobs replace their checkpoints while they run, and can do without them: missing checkpoints do
    not count.
    """
    copy_artifacts(source, target, roots[ArtifactKind.MANIFEST] | roots[ArtifactKind.WEIGHTS], done)
    needed = expand(target, roots, erased=erased).kinds
    copy_artifacts(source, target, needed, done)
    gone = {digest for digest in done.missing if needed.get(digest) == ArtifactKind.CHECKPOINT}
    wanted = needed.keys() - gone
    done.missing &= wanted
    done.damaged &= wanted
    return wanted


def _require_apart(settings: Settings, folder: Path) -> None:
    if (folder / "artifacts").resolve() == settings.artifacts.resolve():
        raise FieldInvalid(f"{folder} contains the service's own artifacts: choose another folder.")


@contextmanager
def _opened(settings: Settings) -> Iterator[Platform]:
    platform = bootstrap.build(settings)
    try:
        yield platform
    finally:
        bootstrap.close(platform)
