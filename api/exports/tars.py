"""Cache of versions and their exports as tar files, verified at every use."""

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from core.artifacts.store import Artifacts
from core.errors import StorageFull, is_full_disk
from core.exports.folders import write_tar
from core.platform import Platform
from core.registry.exports import ExportFormat
from core.registry.versions import Model, Version
from core.values import Digest, ModelId

KEPT_S = 3600.0


def export_path(platform: Platform, model: Model, version: Version) -> Path:
    """Return the path of a version's tar file, written unless it is cached.

    Raises ArtifactMissing, ArtifactCorrupt or StorageFull.
    """
    stem = f"{model.id}-{version.number}-{version.digest[:16]}"
    folder = f"{model.name}-{version.number}"
    return _cached(platform, stem, lambda out: write_tar(platform.artifacts, version, folder, out))


def stored_file(
    platform: Platform, model: ModelId, number: int, artifact: Digest, kind: str = "file"
) -> Path:
    """Return the path of a version's stored file, copied from the store unless it is cached.

    Raises ArtifactMissing, ArtifactCorrupt or StorageFull.
    """
    stem = f"{model}-{number}-{kind}-{artifact[:16]}"
    return _cached(platform, stem, partial(_copy, platform.artifacts, artifact))


def _copy(artifacts: Artifacts, artifact: Digest, out: BinaryIO) -> None:
    for piece in artifacts.pieces(artifact):
        out.write(piece)


def _cached(platform: Platform, stem: str, write: Callable[[BinaryIO], object]) -> Path:
    """Return the path of the file that `write` writes, unless it is cached.

    The file is written under another name and then renamed, so that a reader sees all of it or
    none. Its name holds its SHA-256; a file that no longer matches is written again. Files not
    used for an hour are deleted before a new one is written.
    """
    folder = platform.settings.home / "exports"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(f"{stem}-*.tar"):
        if _is_intact(path):
            return path
    _delete_unused(folder)
    descriptor, name = tempfile.mkstemp(dir=folder, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as out:
            write(out)
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


def delete_cached_tars(
    platform: Platform,
    model: ModelId,
    number: int | None = None,
    export_format: ExportFormat | None = None,
) -> None:
    """Delete the cached tar files of a version or its export, or of every version of a model."""
    of = [
        model,
        "*" if number is None else str(number),
        *([export_format] if export_format else []),
    ]
    for path in (platform.settings.home / "exports").glob(f"{'-'.join(of)}-*.tar"):
        path.unlink(missing_ok=True)
