"""Search every manifest for images that are to be erased."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from core.database.work import Work
from core.datasets.freeze import read_manifest
from core.datasets.manifests import Manifest, ManifestEntry, Part, Side, validation_of
from core.datasets.rows import Datasets
from core.datasets.rules import Dataset, DatasetRef, DatasetVersion, Suite, SuiteKind
from core.datasets.version_rows import Suites
from core.jobs.rules import Monitor
from core.platform import Platform
from core.values import DatasetId, Digest, SuiteId


@dataclass(frozen=True, kw_only=True)
class HoldingVersion:
    """A dataset version that holds some of the images."""

    dataset: Dataset
    version: DatasetVersion
    manifest: Manifest
    held: tuple[ManifestEntry, ...]

    @property
    def teaches(self) -> bool:
        """True if one of the images is on the training side."""
        return any(entry.side is Side.TRAIN for entry in self.held)

    def holds_out(self, part: Part) -> bool:
        """Return whether one of the images is in a part of the holdout."""
        return any(entry.side is Side.HOLDOUT and entry.part is part for entry in self.held)


@dataclass(frozen=True, kw_only=True)
class Holders:
    """The dataset versions that hold some images, and all that were searched."""

    versions: Mapping[DatasetRef, HoldingVersion]
    suites: Mapping[SuiteId, tuple[Suite, tuple[ManifestEntry, ...]]]
    searched: frozenset[DatasetRef | SuiteId]

    @property
    def forms(self) -> set[tuple[Digest, Digest]]:
        """The pixels of the images with each stored form that a manifest names."""
        held = [one.held for one in self.versions.values()]
        held += [entries for _, entries in self.suites.values()]
        return {(entry.pixels, entry.artifact) for entries in held for entry in entries}

    @property
    def learned_from(self) -> set[Digest]:
        """The digests that a bundle names if its line learned from one of the images."""
        held = self.versions.values()
        validating = [one.version.manifest for one in held if one.holds_out(Part.VALIDATION)]
        validating += [self.suites[suite][0].manifest for suite in self.validating]
        taught = {one.version.manifest for one in held if one.teaches}
        return taught.union(map(validation_of, validating))

    @property
    def validating(self) -> frozenset[SuiteId]:
        """The suites that have one of the images in their validation part."""
        return frozenset(
            suite
            for suite, (found, entries) in self.suites.items()
            if any(entry.part is Part.VALIDATION for entry in entries)
            and found.kind is not SuiteKind.UNLABELLED  # by which nothing is chosen
        )


EVERY = 1_000_000

NONE = Holders(versions={}, suites={}, searched=frozenset())


def search(
    platform: Platform, pixels: Collection[Digest], before: Holders, monitor: Monitor
) -> Holders:
    """Return what holds images; only what has come since `before` is read."""
    versions, suites = dict(before.versions), dict(before.suites)
    with platform.transactions(read_only=True) as work:
        datasets, found = _all(work)
        new = [ref for ref in found if ref not in before.searched]
        rows = {ref: found[ref] for ref in new}
    for done, ref in enumerate(new):
        monitor.advance("searching", done, len(new))
        row = rows[ref]
        manifest = read_manifest(platform.artifacts, row.manifest)
        held = tuple(entry for entry in manifest.entries if entry.pixels in pixels)
        if held and isinstance(row, Suite):
            suites[row.id] = (row, held)
        elif held and isinstance(row, DatasetVersion) and isinstance(ref, DatasetRef):
            versions[ref] = HoldingVersion(
                dataset=datasets[row.dataset], version=row, manifest=manifest, held=held
            )
    return Holders(
        versions={ref: one for ref, one in versions.items() if ref in found},
        suites=suites,
        searched=frozenset(found),
    )


def is_current(work: Work, holders: Holders) -> bool:
    """Return whether all dataset versions and suites were searched, and none is gone since."""
    return _all(work)[1].keys() == holders.searched


def _all(
    work: Work,
) -> tuple[dict[DatasetId, Dataset], dict[DatasetRef | SuiteId, DatasetVersion | Suite]]:
    datasets = {dataset.id: dataset for dataset in work[Datasets].page(EVERY, None)}
    found: dict[DatasetRef | SuiteId, DatasetVersion | Suite] = {
        DatasetRef(dataset=dataset, version=version.number): version
        for dataset in datasets
        for version in work[Datasets].versions(dataset)
    }
    found |= {suite.id: suite for suite in work[Suites].editions()}
    return datasets, found
