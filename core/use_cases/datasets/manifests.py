"""Read a manifest back from the store."""

import json

from core.domain.datasets.manifest import Manifest
from core.domain.values import Digest
from core.ports import Artifacts


def read_manifest(artifacts: Artifacts, digest: Digest) -> Manifest:
    """Return the manifest that an artifact holds, verified by its digest."""
    return Manifest.from_json(json.loads(artifacts.get(digest)))
