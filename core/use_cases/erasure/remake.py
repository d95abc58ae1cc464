"""Freeze again the dataset versions that held erased images, without these."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from core.domain.datasets.dataset import NOTHING_LEFT, Dataset, DatasetRef
from core.domain.datasets.manifest import Manifest
from core.domain.erasure.erasure import RemadeVersion
from core.domain.values import Digest
from core.ports import Artifacts, UnitOfWork
from core.use_cases.datasets.freeze import write_version
from core.use_cases.erasure.holders import Holders


@dataclass(frozen=True, kw_only=True)
class StoredManifest:
    """The stored manifest of what is left of a dataset version; maybe without any image."""

    digest: Digest
    manifest: Manifest


def store_remaining_manifests(
    artifacts: Artifacts, holders: Holders, pixels: Collection[Digest]
) -> Mapping[DatasetRef, StoredManifest]:
    """Store the manifests of what is left of dataset versions, before the rows that name them.

    Those of many images are long, so nothing is locked meanwhile.
    """
    left: dict[DatasetRef, StoredManifest] = {}
    for ref, one in holders.versions.items():
        if one.version.replaced_by is None:
            manifest = one.manifest.without(pixels)
            left[ref] = StoredManifest(digest=artifacts.put(manifest.to_bytes()), manifest=manifest)
    return left


def remake(
    work: UnitOfWork,
    holders: Holders,
    left: Mapping[DatasetRef, StoredManifest],
    now: datetime,
) -> list[RemadeVersion]:
    """Write a version without the erased images for each locked one that holds some.

    One that was replaced before stays so: what replaces it is replaced in turn.
    """
    made: list[RemadeVersion] = []
    for ref in sorted(holders.versions, key=lambda ref: (ref.dataset, ref.version)):
        holder = holders.versions[ref]
        by = holder.version.replaced_by
        if by is None:
            by = _write(work, holder.dataset, left[ref], now)
            work.datasets.replace_version(ref.dataset, ref.version, by)
        made.append(
            RemadeVersion(
                dataset=ref.dataset,
                name=holder.dataset.name,
                number=ref.version,
                removed=len(holder.held),
                replaced_by=by,
            )
        )
    return made


def _write(work: UnitOfWork, dataset: Dataset, left: StoredManifest, now: datetime) -> int:
    if not left.manifest.entries:
        return NOTHING_LEFT
    number = work.datasets.next_version(dataset.id)
    write_version(work, dataset, left.manifest, left.digest, number, now)
    return number
