"""Cache of exported versions as tar files, verified at every use."""

import hashlib
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from core.domain.registry.version import Model, Version
from core.domain.values import ModelId
from core.errors import StorageFull, is_full_disk
from core.ports import Platform
from core.use_cases.registry.export_version import write_tar

KEPT_S = 3600.0


def export_path(platform: Platform, model: Model, version: Version) -> Path:
    """Return the path of a version's tar file, written unless it is cached.

    The file is written under another name and then renamed, so that a reader sees all of it or
    none. Its name holds its SHA-256; a file that no longer matches is written again. Files not
    used for an hour are deleted before a new one is written. Raises ArtifactMissing,
    ArtifactCorrupt or StorageFull.
    """
    folder = platform.settings.home / "exports"
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{model.id}-{version.number}-{version.digest[:16]}"
    for path in folder.glob(f"{stem}-*.tar"):
        if _is_intact(path):
            return path
    _delete_unused(folder)
    descriptor, name = tempfile.mkstemp(dir=folder, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as out:
            write_tar(platform.artifacts, version, f"{model.name}-{version.number}", out)
            out.flush()
            os.fsync(descriptor)  # else a power cut may leave the name on an incomplete file
        path = folder / f"{stem}-{_hash(Path(name))}.tar"
        Path(name).replace(path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if is_full_disk(error):
            raise StorageFull from error
        raise
    return path


def delete_exports(platform: Platform, model: ModelId, number: int | None = None) -> None:
    """Delete the cached tar files of a version, or of every version of a model."""
    versions = "*" if number is None else str(number)
    for path in (platform.settings.home / "exports").glob(f"{model}-{versions}-*.tar"):
        path.unlink(missing_ok=True)


def _is_intact(path: Path) -> bool:
    """Return True and renew a file that still has its digest; delete it otherwise."""
    try:
        if path.stem.endswith(_hash(path)):
            os.utime(path)
            return True
        path.unlink()
    except FileNotFoundError:  # another download has deleted it
        pass
    return False


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _delete_unused(folder: Path) -> None:
    old = time.time() - KEPT_S
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # another download has deleted or renamed it
            if path.stat().st_mtime < old:
                path.unlink()
