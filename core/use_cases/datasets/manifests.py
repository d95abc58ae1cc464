"""Read a manifest back from the store."""

import json
from collections.abc import Sequence
from dataclasses import replace

from core.domain.datasets.manifest import Manifest, ManifestEntry
from core.domain.values import Digest
from core.ports import Artifacts, UnitOfWork


def read_manifest(artifacts: Artifacts, digest: Digest) -> Manifest:
    """Return the manifest that an artifact holds, verified by its digest."""
    return Manifest.from_json(json.loads(artifacts.get(digest)))


def without_erased(work: UnitOfWork, entries: Sequence[ManifestEntry]) -> tuple[ManifestEntry, ...]:
    """Return the entries whose images were not erased since."""
    erased = work.erasures.erased([entry.pixels for entry in entries])
    return tuple(entry for entry in entries if entry.pixels not in erased)


def read_remaining(work: UnitOfWork, artifacts: Artifacts, digest: Digest) -> Manifest:
    """Return a manifest without the images that were erased since."""
    manifest = read_manifest(artifacts, digest)
    return replace(manifest, entries=without_erased(work, manifest.entries))
