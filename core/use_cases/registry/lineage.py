"""A version's line: its ancestors, its root, and what each update held out."""

from core.domain.datasets.manifest import ManifestEntry
from core.domain.datasets.split import Side
from core.domain.registry.version import Version
from core.ports import Artifacts, UnitOfWork
from core.use_cases.datasets.manifests import read_manifest


def ancestors(work: UnitOfWork, version: Version) -> list[Version]:
    """Return the versions a version was trained from, root first; empty for a root."""
    line: list[Version] = []
    parent = version.parent
    while parent is not None:
        line.append(work.versions.get(version.model, parent))
        parent = line[-1].parent
    return line[::-1]


def holdout_of(
    work: UnitOfWork, artifacts: Artifacts, version: Version
) -> tuple[ManifestEntry, ...]:
    """Return the images held out of the update that made a version; empty for a root."""
    if version.dataset is None or version.dataset_version is None:
        return ()
    dataset_version = work.datasets.version(version.dataset, version.dataset_version)
    return read_manifest(artifacts, dataset_version.manifest).on(Side.HOLDOUT)
