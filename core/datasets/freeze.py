"""Freeze a dataset's present images into its next version."""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from core.artifacts.store import Artifacts
from core.audit import record as audit
from core.audit.rules import Action
from core.database.work import Work
from core.datasets.manifests import Manifest, ManifestEntry, Side
from core.datasets.rows import Datasets, ErasedImages
from core.datasets.rules import ERASED, Dataset, DatasetKind, DatasetVersion, dataset_frozen
from core.datasets.thumbnail_rows import PlacedGroups, Splits, Thumbnails
from core.datasets.version_rows import Suites
from core.errors import ImageErased, ImageInSuite
from core.outbox.rows import Outbox
from core.platform import Platform
from core.values import Digest, counted

_TRIES = 3  # without a lock; a dataset that changes each time is then frozen with its row locked


def freeze_version(
    platform: Platform, reference: str, *, if_changed: bool = False
) -> DatasetVersion:
    """Freeze a dataset's present images into its next version.

    With `if_changed`, return the newest version instead if it has the same images and classes.
    The manifest is made and stored before the transaction that writes the version, which only
    checks whether the dataset has changed since, or another one has placed its images. The number
    of images of each class is checked when an update is requested, because a suite may have a
    single image of a class. Raises DatasetEmpty, or ImageInSuite when an image was added to a suite
    after its upload.
    """
    for _ in range(_TRIES):
        with platform.transactions(read_only=True) as work:
            dataset = work[Datasets].get(reference)
            revision = work[Datasets].revision(dataset.id)  # first: a change while reading shows
            manifest, new = draft_manifest(work, dataset)
        stored = platform.artifacts.put(manifest.to_bytes())
        with platform.transactions() as work:
            work[Thumbnails].lock()
            number = work[Datasets].next_version(dataset.id)
            unchanged = work[Datasets].revision(dataset.id) == revision
            if unchanged and not work[PlacedGroups].sides(new):
                newest = work[Datasets].newest_versions([dataset.id]).get(dataset.id)
                if if_changed and newest and newest[0].manifest == stored:
                    return newest[0]
                work[PlacedGroups].add(new)
                version = _write(work, dataset, manifest, stored, number, platform.clock())
                work.commit()
                return version
    with platform.transactions() as work:
        version = freeze(work, platform.artifacts, dataset, platform.clock())
        work.commit()
    return version


def freeze(
    work: Work,
    artifacts: Artifacts,
    dataset: Dataset,
    now: datetime,
    *,
    accept: Callable[[Manifest], object] = lambda _: None,
    if_changed: bool = False,
    beside_suites: bool = False,
) -> DatasetVersion:
    """Freeze a dataset's present images within one transaction, which keeps others waiting.

    Nothing is stored unless `accept` returns. With `if_changed`, return the newest version instead
    if it has the same images and classes. With `beside_suites`, images of suites may be among them;
    no update learns from such a version.
    """
    work[Thumbnails].lock()
    versions = work[Datasets].lock(dataset.id)
    manifest, new = draft_manifest(work, dataset)
    accept(manifest)
    stored = artifacts.put(manifest.to_bytes())
    if if_changed and not new and versions and versions[-1].manifest == stored:
        return versions[-1]
    number = work[Datasets].next_version(dataset.id)
    work[PlacedGroups].add(new)
    write = write_version if beside_suites else _write
    return write(work, dataset, manifest, stored, number, now)


def draft_manifest(work: Work, dataset: Dataset) -> tuple[Manifest, dict[Digest, Side]]:
    """Return the manifest of a dataset's present images, and the sides that it places groups on."""
    placed = work[PlacedGroups].sides_in(dataset.id)
    manifest = Manifest.of(
        dataset.kind, work[Datasets].images(dataset.id), placed, work[Splits].get()
    )
    return manifest, {
        group: side for group, side in manifest.sides().items() if group not in placed
    }


def _write(
    work: Work,
    dataset: Dataset,
    manifest: Manifest,
    stored: Digest,
    number: int,
    now: datetime,
) -> DatasetVersion:
    if dataset.kind is DatasetKind.LABELLED:
        refuse_suite_images(work, manifest.entries)
    return write_version(work, dataset, manifest, stored, number, now)


def write_version(
    work: Work,
    dataset: Dataset,
    manifest: Manifest,
    stored: Digest,
    number: int,
    now: datetime,
) -> DatasetVersion:
    """Write a version with a number of its own and the manifest that is stored."""
    labelled = dataset.kind is DatasetKind.LABELLED
    version = DatasetVersion(
        dataset=dataset.id,
        number=number,
        manifest=stored,
        classes=manifest.classes,
        counts=manifest.counts() if labelled else {},
        images=len(manifest.entries),
        near_duplicates=sum(entry.near_duplicate_of is not None for entry in manifest.entries),
        created_at=now,
    )
    work[Datasets].add_version(version, manifest)
    audit.record(
        work,
        Action.DATASET_FROZEN,
        f"datasets/{dataset.name}/versions/{number}",
        now=now,
        after={"manifest": stored, "images": version.images},
    )
    work[Outbox].add(dataset_frozen(version))
    return version


def refuse_suite_images(work: Work, entries: Collection[ManifestEntry]) -> None:
    """Raise ImageInSuite for an image to train on that is in a suite, or a near-duplicate."""
    in_suites = work[Suites].contains({entry.group for entry in entries})
    shared = sorted(entry.pixels for entry in entries if entry.group in in_suites)
    if shared:
        raise ImageInSuite(
            f"Suites contain {counted(len(shared), 'image')} of the dataset, counting "
            "near-duplicates.",
            pixels=shared[:20],
        )


def without_suite_images(work: Work, entries: Sequence[ManifestEntry]) -> tuple[ManifestEntry, ...]:
    """Return the entries without the images of suites and their near-duplicates."""
    in_suites = work[Suites].contains({entry.group for entry in entries})
    return tuple(entry for entry in entries if entry.group not in in_suites)


# Manifests, read back from the store.


def read_manifest(artifacts: Artifacts, digest: Digest) -> Manifest:
    """Return the manifest that an artifact holds, verified by its digest."""
    return Manifest.from_json(json.loads(artifacts.get(digest)))


def without_erased(work: Work, entries: Sequence[ManifestEntry]) -> tuple[ManifestEntry, ...]:
    """Return the entries whose images were not erased since."""
    erased = work[ErasedImages].erased([entry.pixels for entry in entries])
    return tuple(entry for entry in entries if entry.pixels not in erased)


def require_unerased(work: Work, entries: Iterable[ManifestEntry], message: str) -> None:
    """Raise ImageErased, with a message, if an image was erased since."""
    if erased := work[ErasedImages].erased({entry.pixels for entry in entries}):
        raise ImageErased(message, pixels=sorted(erased)[:20])


def read_shown(work: Work, artifacts: Artifacts, digest: Digest) -> Manifest:
    """Return a manifest as it may be shown: images that were erased since lose their captions.

    They keep their class, which is not about one image, and by which a version counts its images.
    """
    manifest = read_manifest(artifacts, digest)
    if manifest.kind is DatasetKind.LABELLED:
        return manifest
    erased = work[ErasedImages].erased([entry.pixels for entry in manifest.entries])
    shown = (
        replace(entry, texts=(ERASED,)) if entry.pixels in erased else entry
        for entry in manifest.entries
    )
    return replace(manifest, entries=tuple(shown))


def read_remaining(work: Work, artifacts: Artifacts, digest: Digest) -> Manifest:
    """Return a manifest without the images that were erased since."""
    manifest = read_manifest(artifacts, digest)
    return replace(manifest, entries=without_erased(work, manifest.entries))
