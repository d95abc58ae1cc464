"""Files that no row and no process of a service accounts for."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from core import bootstrap
from core.settings import Settings
from core.upkeep.gc import expand, roots_of
from core.upkeep.rows import ArtifactRoots

OLD_S = 2 * 3600  # older than the least grace of a collection

_ARTIFACT = re.compile(r"artifacts/([0-9a-f]{2})/([0-9a-f]{62})")

_EMBEDDED = re.compile(r"perennial\.db(-wal|-shm)?|service\.log|broker/.*")


def collect_all(client: httpx.Client, home: Path) -> None:
    """Have every artifact that no row names collected, whatever its age."""
    then = time.time() - OLD_S
    for path in _files(home / "artifacts"):
        os.utime(path, (then, then))
    answer = client.post("/v1/gc", json={"older_than_hours": 1})
    if answer.status_code != 200 or not answer.json()["complete"]:
        raise RuntimeError(answer.text)


def unaccounted(folder: Path, home: Path, *, before: set[Path]) -> list[str]:
    """Return the files in `folder` that were not there before and that nothing knows.

    Known are the artifacts that rows name and, in `home`, the database, the log and the broker.
    """
    known = _named_by_rows(home)
    found = []
    for path in set(_files(folder)) - before:
        name = str(path.relative_to(home)) if path.is_relative_to(home) else ""
        artifact = _ARTIFACT.fullmatch(name)
        if not (_EMBEDDED.fullmatch(name) or (artifact and "".join(artifact.groups()) in known)):
            found.append(str(path.relative_to(folder)))
    return sorted(found)


def _named_by_rows(home: Path) -> set[str]:
    platform = bootstrap.build(Settings(home=home, database_url="", artifacts_url=""))
    try:
        with platform.transactions(read_only=True) as work:
            roots, erased = roots_of(work[ArtifactRoots]), work[ArtifactRoots].erased()
        return set(expand(platform.artifacts, roots, erased=erased).kinds)
    finally:
        bootstrap.close(platform)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if not path.is_dir())
