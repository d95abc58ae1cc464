"""Freeze again the dataset versions that held erased images, without these."""

from collections.abc import Collection, Mapping
from datetime import datetime

from core.domain.datasets.dataset import NOTHING_LEFT, DatasetRef, DatasetVersion
from core.domain.datasets.manifest import Manifest
from core.domain.erasure.erasure import RemadeVersion
from core.domain.values import Digest, sha256
from core.ports import Artifacts, UnitOfWork
from core.use_cases.datasets.freeze import write_version
from core.use_cases.erasure.holders import Holders, HoldingVersion


def store_remains(
    artifacts: Artifacts, holders: Holders, pixels: Collection[Digest]
) -> Mapping[DatasetRef, Manifest]:
    """Store the manifests of what is left of dataset versions, before the rows that name them."""
    left = {
        ref: one.manifest.without(pixels)
        for ref, one in holders.versions.items()
        if one.version.replaced_by is None
    }
    for manifest in left.values():
        artifacts.put(manifest.to_bytes())
    return left


def remake(
    work: UnitOfWork,
    holders: Holders,
    left: Mapping[DatasetRef, Manifest],
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
            by = _write(work, holder, left[ref], now).number if left[ref].entries else NOTHING_LEFT
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


def _write(
    work: UnitOfWork, holder: HoldingVersion, manifest: Manifest, now: datetime
) -> DatasetVersion:
    number = work.datasets.next_version(holder.dataset.id)
    stored = sha256(manifest.to_bytes())
    return write_version(work, holder.dataset, manifest, stored, number, now)
