"""The suites, policy and live version that a promotion is checked against."""

import json
from collections.abc import Sequence

from core.domain.recipes.class_lists import distinct
from core.domain.registry.promotion import PromotionRequirements, ReportCoverage
from core.domain.registry.version import Version
from core.errors import ArtifactCorrupt, ArtifactMissing
from core.ports import Artifacts, UnitOfWork
from core.use_cases.registry.lineage import ancestors
from core.use_cases.registry.model_suites import suites_of


def promotion_requirements(work: UnitOfWork, version: Version, alias: str) -> PromotionRequirements:
    """Return what the verdict on a version must cover for it to go live as `alias` now."""
    model = work.models.get(version.model)
    line = lost_line(work, version, alias)
    known = {name.lower() for name in version.classes}
    return PromotionRequirements(
        model=model.name,
        alias=alias,
        suites={suite.id: suite.name for suite in suites_of(work, model)},
        policy=(model.policy, work.policies.get(model.policy).name),
        live=line[-1] if line else None,
        back=descends_from(line, version),
        lost=line,
        lost_classes=distinct(
            name for one in line for name in one.update_classes if name.lower() not in known
        ),
    )


def lost_line(work: UnitOfWork, version: Version, alias: str) -> tuple[Version, ...]:
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


def descends_from(line: Sequence[Version], version: Version) -> bool:
    """Return whether the live version, the last of `line`, descends from `version`."""
    return bool(line) and line[0].parent == version.number


def report_coverage(artifacts: Artifacts, version: Version) -> ReportCoverage | None:
    """Return what a version's newest report covers; None if no report records it."""
    if version.report is None:
        return None
    try:
        return ReportCoverage.of(json.loads(artifacts.get(version.report)))
    except (ArtifactMissing, ArtifactCorrupt):
        return None
