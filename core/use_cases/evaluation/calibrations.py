"""The thresholds for "none of these" of versions: of a report, or of a root's stored answers."""

import json
from collections.abc import Hashable

from core.domain.evaluation.plan_queries import calibration_query
from core.domain.registry.version import Model, Version
from core.domain.rejection.calibration import Calibration
from core.errors import NotCalibrated
from core.ports import Platform
from core.use_cases.evaluation.plan_evaluation import scored_suites
from core.use_cases.evaluation.stored_answers import read_each

KNOWN = 100  # calibrations


class Calibrations:
    """Thresholds that were read before, by what they depend on; safe to share between threads.

    Those read first are forgotten first.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._known: dict[Hashable, Calibration] = {}

    def of(self, model: Model, version: Version) -> Calibration:
        """Return a version's thresholds. Raises NotCalibrated, ArtifactMissing, ArtifactCorrupt."""
        key = (version.digest, model.suites) if version.is_root else version.report
        found = self._known.get(key)
        if found is None:
            found = self._of_root(model, version) if version.is_root else self._reported(version)
            for oldest in list(self._known)[: max(0, len(self._known) - KNOWN + 1)]:
                self._known.pop(oldest, None)
            self._known[key] = found
        return found

    def _of_root(self, model: Model, root: Version) -> Calibration:
        """Read what a root has answered about its model's suites as an update was evaluated."""
        artifacts = self._platform.artifacts
        with self._platform.transactions(read_only=True) as work:
            query = calibration_query(scored_suites(work, artifacts, model))
            if query is None:
                raise NotCalibrated(
                    f"Version {root.number} is a root, and its model has no zero-shot suite with "
                    "images enough for thresholds: give the model one.",
                    version=root.number,
                )
            stored = work.answers.stored([root.digest], [query.digest])
        found = read_each(artifacts, stored).get((root.digest, query.digest))
        if isinstance(found, Calibration):
            return found
        raise NotCalibrated(
            f"Version {root.number} is a root. Its thresholds are measured on its model's suites "
            "when a version that an update made is evaluated: teach the model, or order a job of "
            'type "evaluate" of such a version.',
            version=root.number,
        )

    def _reported(self, version: Version) -> Calibration:
        if version.report is None:
            raise NotCalibrated(
                f"Version {version.number} has not been evaluated: wait for its job to end, or "
                "order an evaluation.",
                version=version.number,
            )
        value = json.loads(self._platform.artifacts.get(version.report)).get("rejection")
        if value is None:
            raise NotCalibrated(
                f"The report of version {version.number} is of an earlier release, without "
                'thresholds: order a job of type "evaluate" of this version.',
                version=version.number,
            )
        return Calibration.from_json(value)
