"""The thresholds for "none of these" of versions."""

import json
from functools import lru_cache

from core.errors import NotCalibrated
from core.evaluation.rows import AnswerCache
from core.platform import Platform
from core.registry.versions import Version
from core.rejection.queries import newest_of_root
from core.rejection.rules import Calibration
from core.values import Digest

KNOWN = 100  # artifacts


class Calibrations:
    """Thresholds by the artifact that holds them; safe to share between threads.

    These are the report of a version that an update made, and the newest answer of a root.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._read = lru_cache(KNOWN)(self._read_anew)

    def of(self, version: Version) -> Calibration:
        """Return a version's thresholds. Raises NotCalibrated, ArtifactMissing, ArtifactCorrupt."""
        artifact = self._of_root(version) if version.is_root else _report_of(version)
        return self._read(artifact, version.is_root)

    def _of_root(self, root: Version) -> Digest:
        with self._platform.transactions(read_only=True) as work:
            stored = work[AnswerCache].find(root.digest, newest_of_root(root.model))
        if stored is None:
            raise NotCalibrated(
                f"Version {root.number} is a root. Its thresholds are measured on its model's "
                "zero-shot suites when a version that an update made is evaluated: teach the "
                'model, or order a job of type "evaluate" of such a version.',
                version=root.number,
            )
        return stored

    def _read_anew(self, artifact: Digest, is_root: bool) -> Calibration:
        value = json.loads(self._platform.artifacts.get(artifact))
        return Calibration.from_json(value if is_root else value["rejection"])


def _report_of(version: Version) -> Digest:
    if version.report is None:
        raise NotCalibrated(
            f"Version {version.number} has not been evaluated: wait for its job to end, or order "
            "an evaluation.",
            version=version.number,
        )
    return version.report
