"""Read forgetting reports."""

import json

from core.domain.registry.version import Version
from core.domain.values import Json
from core.errors import ArtifactCorrupt, ArtifactMissing, EvaluationPending, ReportNotFound
from core.ports import Artifacts


def read_report(artifacts: Artifacts, version: Version) -> Json:
    """Return a version's forgetting report. Raises ReportNotFound (root) or EvaluationPending."""
    if version.is_root:
        raise ReportNotFound(version=version.number)
    if version.report is None:
        raise EvaluationPending(version=version.number)
    report: Json = json.loads(artifacts.get(version.report))
    return report


def scores_of(artifacts: Artifacts, version: Version) -> Json:
    """Return the facts of a refusal to promote: the measures that were judged, and why.

    Empty if the report's bytes are missing or damaged; the verdict holds without them.
    """
    if version.report is None:
        return {}
    try:
        report = json.loads(artifacts.get(version.report))
    except (ArtifactMissing, ArtifactCorrupt):
        return {}
    return {"measures": report["measures"], "reasons": report["reasons"]}
