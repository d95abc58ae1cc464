"""Read what a bundle said of an imported version."""

import json

from core.domain.registry.version import Version
from core.domain.values import Json
from core.errors import OriginNotFound
from core.ports import Artifacts


def read_origin(artifacts: Artifacts, version: Version) -> Json:
    """Return the line, suites, policy and reports of a version where it was trained.

    Raises OriginNotFound, ArtifactMissing or ArtifactCorrupt.
    """
    if version.origin is None:
        raise OriginNotFound(version=version.number)
    found: Json = json.loads(artifacts.get(version.origin.record))
    return found
