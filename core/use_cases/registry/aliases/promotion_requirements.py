"""The suites, policy and live version that a promotion is checked against."""

import json
from collections.abc import Sequence

from core.domain.recipes.class_lists import distinct
from core.domain.registry.promotion import Answered, InForce
from core.domain.registry.version import Version
from core.errors import ArtifactCorrupt, ArtifactMissing
from core.ports import Artifacts, UnitOfWork
from core.use_cases.registry.lineage import ancestors
from core.use_cases.registry.model_suites import suites_of


def in_force(work: UnitOfWork, version: Version, alias: str) -> InForce:
    """Return what a version must have been judged by to go live as `alias` now."""
    model = work.models.get(version.model)
    line = line_beside(work, version, alias)
    known = {name.lower() for name in version.classes}
    return InForce(
        model=model.name,
        alias=alias,
        suites={suite.id: suite.name for suite in suites_of(work, model)},
        policy=(model.policy, work.policies.get(model.policy).name),
        live=line[-1] if line else None,
        back=leads_back(line, version),
        lost=line,
        lost_classes=distinct(
            name for one in line for name in one.update_classes if name.lower() not in known
        ),
    )


def line_beside(work: UnitOfWork, version: Version, alias: str) -> tuple[Version, ...]:
    """Return the live version of an alias, last, after those of its ancestors that `version` lacks.

    Empty when nothing is live, or when `version` is the live one or descends from it.
    """
    found = work.aliases.find(version.model, alias)
    if found is None:
        return ()
    own = {one.number for one in (*ancestors(work, version), version)}
    if found.version in own:
        return ()
    live = work.versions.get(version.model, found.version)
    return tuple(one for one in (*ancestors(work, live), live) if one.number not in own)


def leads_back(line: Sequence[Version], version: Version) -> bool:
    """Return whether the live version, the last of `line`, descends from `version`."""
    return bool(line) and line[0].parent == version.number


def answered_by(artifacts: Artifacts, version: Version) -> Answered | None:
    """Return what a version's newest report covers; None if no report records it."""
    if version.report is None:
        return None
    try:
        return Answered.by(json.loads(artifacts.get(version.report)))
    except (ArtifactMissing, ArtifactCorrupt):
        return None
