"""Downloads, laid out once, kept for a while, and verified each time."""

import hashlib
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from core.domain.registry.version import Model, Version
from core.errors import StorageFull, is_full_disk
from core.ports import Platform
from core.use_cases.registry.export_version import write_tar

KEPT_S = 3600.0


def exported(platform: Platform, model: Model, version: Version) -> Path:
    """The tar of a version. Raises ArtifactMissing, ArtifactCorrupt or StorageFull.

    Written beside its place and renamed into it, so a reader sees all of it or none; its name
    holds its SHA-256, and one that no longer has it is laid out again. Exports that nobody asked
    for in the last hour make room.
    """
    folder = platform.settings.home / "exports"
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{model.id}-{version.number}-{version.digest[:16]}"
    for path in folder.glob(f"{stem}-*.tar"):
        if _still_whole(path):
            return path
    _make_room(folder)
    descriptor, name = tempfile.mkstemp(dir=folder, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as out:
            write_tar(platform.artifacts, version, f"{model.name}-{version.number}", out)
            out.flush()
            os.fsync(descriptor)  # or a power cut may leave the name without all of the bytes
        path = folder / f"{stem}-{_hash(Path(name))}.tar"
        Path(name).replace(path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if is_full_disk(error):
            raise StorageFull from error
        raise
    return path


def _still_whole(path: Path) -> bool:
    """Whether a kept export is as it was written; then it is kept for longer."""
    try:
        if path.stem.endswith(_hash(path)):
            os.utime(path)
            return True
        path.unlink()
    except FileNotFoundError:  # another download has made room
        pass
    return False


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make_room(folder: Path) -> None:
    old = time.time() - KEPT_S
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # another download tidies up too, or has got its name
            if path.stat().st_mtime < old:
                path.unlink()
