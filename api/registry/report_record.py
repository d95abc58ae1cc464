"""The record that is printed with a report: when it was made, of what, and what came of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.artifacts.store import Artifacts
from core.database.work import Work
from core.errors import ArtifactCorrupt, ArtifactMissing
from core.evaluation.evidence import EVIDENCE
from core.evaluation.rows import AnswerCache
from core.registry.alias_rows import Aliases
from core.registry.aliases import AliasMove
from core.registry.versions import Version
from core.values import Digest


@dataclass(frozen=True, kw_only=True)
class Record:
    """The record of a verdict, for somebody who keeps the printed report."""

    job: str  # that evaluated the version
    at: str
    report: Digest
    evidence: Digest
    suites: Mapping[str, Digest]  # manifests by name
    moves: Sequence[AliasMove]  # of any alias to the version or away from it


def record_of(work: Work, artifacts: Artifacts, version: Version, report: Digest) -> Record | None:
    """Return the record of a verdict; None if its evidence was lost."""
    stored = work[AnswerCache].find(report, EVIDENCE)
    if stored is None:
        return None
    try:
        facts = json.loads(artifacts.get(stored))
    except (ArtifactMissing, ArtifactCorrupt):
        return None
    moves = [
        move
        for alias in work[Aliases].all(version.model)
        for move in work[Aliases].history(version.model, alias.name)
        if version.number in {move.from_version, move.to_version}
    ]
    return Record(
        job=facts["job"],
        at=facts["at"],
        report=report,
        evidence=stored,
        suites={one["name"]: one["manifest"] for one in facts["plan"]["suites"]},
        moves=sorted(moves, key=lambda move: move.at),
    )
