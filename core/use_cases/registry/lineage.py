"""A version's line: its ancestors, its root, and what each update held out."""

from collections.abc import Sequence

from core.domain.datasets.manifest import ManifestEntry
from core.domain.datasets.split import Side
from core.domain.registry.version import Version
from core.domain.values import ModelId
from core.errors import ParentNotRetrained
from core.ports import Artifacts, UnitOfWork
from core.use_cases.datasets.manifests import read_manifest, without_erased


def ancestors(work: UnitOfWork, version: Version) -> list[Version]:
    """Return the versions a version was trained from, root first; empty for a root."""
    line: list[Version] = []
    parent = version.parent
    while parent is not None:
        line.append(work.versions.get(version.model, parent))
        parent = line[-1].parent
    return line[::-1]


def parent_for_retraining(work: UnitOfWork, model: ModelId, number: int) -> Version:
    """Return the version that another one's update is repeated from.

    That is its parent, or the newest version that replaces it. Raises VersionNotFound, or
    ParentNotRetrained while there is none that erased images have left as it is.
    """
    parent = work.versions.get(model, number).parent
    found = work.versions.get(model, parent, lock=True) if parent is not None else None
    while found is not None and found.erasure is not None:
        found = work.versions.replacement(model, found.number)
    if found is None:
        raise ParentNotRetrained(version=number, parent=parent)
    return work.versions.get(model, found.number, lock=True)


def holdout_of(
    work: UnitOfWork, artifacts: Artifacts, version: Version
) -> tuple[ManifestEntry, ...]:
    """Return the images held out of the update that made a version, except erased ones.

    Empty for a root.
    """
    return holdouts_of(work, artifacts, [version])[0]


def holdouts_of(
    work: UnitOfWork, artifacts: Artifacts, versions: Sequence[Version]
) -> list[tuple[ManifestEntry, ...]]:
    """Return what `holdout_of` returns for each version; what was erased is asked once."""
    held = [_held_out(work, artifacts, version) for version in versions]
    left = {entry.pixels for entry in without_erased(work, [one for each in held for one in each])}
    return [tuple(entry for entry in each if entry.pixels in left) for each in held]


def _held_out(
    work: UnitOfWork, artifacts: Artifacts, version: Version
) -> tuple[ManifestEntry, ...]:
    if version.dataset is None or version.dataset_version is None:
        return ()
    dataset_version = work.datasets.version(version.dataset, version.dataset_version)
    return read_manifest(artifacts, dataset_version.manifest).on(Side.HOLDOUT)
