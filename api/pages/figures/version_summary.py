"""The gain of each version of a line, and the most that it forgot."""

import json
from dataclasses import dataclass

from api.pages.report_parts import gains, guarded
from core.domain.evaluation.report import Report
from core.domain.gate.measure import Measure
from core.domain.registry.version import Version
from core.domain.values import Digest
from core.errors import PerennialError
from core.ports import Artifacts

KEPT = 5000  # summaries, of a few hundred bytes


@dataclass(frozen=True, kw_only=True)
class VersionSummary:
    """The gain on the update's own holdout, and the guarded measure that lost most."""

    gain: Measure | None = None
    loss: Measure | None = None


_known: dict[Digest, VersionSummary] = {}  # by the digest of the report, whose bytes never change


def summary_of(artifacts: Artifacts, version: Version) -> VersionSummary:
    """Return the summary of a version's newest report; an empty one if it cannot be read."""
    if version.report is None:
        return VersionSummary()
    found = _known.get(version.report)
    if found is None:
        found = _read(artifacts, version.report)
        if len(_known) >= KEPT:
            _known.clear()
        _known[version.report] = found
    return found


def _read(artifacts: Artifacts, digest: Digest) -> VersionSummary:
    try:
        report = Report.from_json(json.loads(artifacts.get(digest)))
    except PerennialError:
        return VersionSummary()
    losses = [r.measure for r in guarded(report) if not r.measure.formerly_right]
    return VersionSummary(
        gain=next((ruling.measure for ruling in gains(report)), None),
        loss=min(losses, key=lambda measure: measure.difference, default=None),
    )
