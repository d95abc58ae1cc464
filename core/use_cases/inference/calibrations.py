"""The thresholds for "none of these" of versions, from their reports."""

import json

from core.domain.registry.version import Version
from core.domain.rejection.calibration import Calibration
from core.domain.values import Digest
from core.errors import NotCalibrated
from core.ports import Artifacts

KNOWN = 100  # reports


class Calibrations:
    """Thresholds by a report's digest; safe to share between threads.

    Those read first are forgotten first.
    """

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._known: dict[Digest, Calibration] = {}

    def of(self, version: Version) -> Calibration:
        """Return a version's thresholds. Raises NotCalibrated, ArtifactMissing, ArtifactCorrupt."""
        if version.is_root:
            raise NotCalibrated(
                f"Version {version.number} is a root, which is not evaluated and has no "
                "thresholds: classify with a version that an update made.",
                version=version.number,
            )
        if version.report is None:
            raise NotCalibrated(
                f"Version {version.number} has not been evaluated: wait for its job to end, or "
                "order an evaluation.",
                version=version.number,
            )
        found = self._known.get(version.report)
        if found is None:
            found = self._read(version.report, version.number)
            for oldest in list(self._known)[: max(0, len(self._known) - KNOWN + 1)]:
                self._known.pop(oldest, None)
            self._known[version.report] = found
        return found

    def _read(self, report: Digest, number: int) -> Calibration:
        value = json.loads(self._artifacts.get(report)).get("rejection")
        if value is None:
            raise NotCalibrated(
                f"The report of version {number} is of an earlier release, without thresholds: "
                'order a job of type "evaluate" of this version.',
                version=number,
            )
        return Calibration.from_json(value)
