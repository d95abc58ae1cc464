"""Images that an update may keep as exemplars: those that a line of versions was taught with."""

from collections.abc import Iterable, Sequence

from core.domain.datasets.dataset import DatasetVersion
from core.domain.datasets.manifest import Manifest, ManifestEntry
from core.domain.datasets.split import Side
from core.domain.registry.version import Version
from core.domain.values import Digest
from core.ports import UnitOfWork


def replayed_versions(work: UnitOfWork, line: Iterable[Version]) -> tuple[DatasetVersion, ...]:
    """Return the dataset versions that a line was taught with, in its order; roots have none."""
    return tuple(
        work.datasets.version(version.dataset, version.dataset_version)
        for version in line
        if version.dataset is not None and version.dataset_version is not None
    )


def exemplars_of(
    lessons: Sequence[Manifest], own: Iterable[ManifestEntry]
) -> tuple[ManifestEntry, ...]:
    """Return the training sides of earlier updates, oldest first, without the `own` images.

    An image that was taught several times comes once, as what it was last taught to be.
    """
    found: dict[Digest, ManifestEntry] = {}
    for lesson in lessons:
        found |= {entry.pixels: entry for entry in lesson.on(Side.TRAIN)}
    for entry in own:
        found.pop(entry.pixels, None)
    return tuple(found.values())
