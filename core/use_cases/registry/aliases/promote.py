"""Promote a version."""

from core.domain.access.principal import Principal
from core.domain.registry.alias import Alias, MoveKind, require_revision
from core.domain.registry.promotion import require_promotable, role_to_override
from core.domain.values import clean_name
from core.errors import FieldInvalid
from core.ports import Platform
from core.use_cases.registry.aliases.move_alias import move_alias
from core.use_cases.registry.aliases.promotion_requirements import (
    promotion_requirements,
    report_coverage,
)
from core.use_cases.registry.reports import scores_of
from core.use_cases.registry.stored_weights import require_weights


def promote(
    platform: Platform,
    principal: Principal,
    *,
    model: str,
    alias: str,
    version: int,
    expected_revision: int | None,
    reason: str,
    override: bool,
) -> Alias:
    """Point an alias at a version that the gate lets through.

    `expected_revision` is 0 to create. Raises GateFailed with the scores, EvaluationPending,
    EvaluationStale, StaleRevision, Forbidden (an override of a failed version takes an
    administrator), FieldInvalid (and a reason) or ArtifactGone.
    """
    if override and not reason:
        raise FieldInvalid("An override requires a reason.", pointer="/reason")
    with platform.transactions(read_only=True) as work:
        found = work.models.get(model)
        to = work.versions.get(found.id, version)
    require_weights(platform.artifacts, to)
    now = platform.clock()
    with platform.transactions() as work:
        to = work.versions.get(found.id, version, lock=True)
        to.require_weights()
        present = work.aliases.find(found.id, alias)
        require_revision(present, expected_revision)
        overridden = require_promotable(
            to,
            promotion_requirements(work, to, alias),
            report_coverage(platform.artifacts, to),
            override=override,
            reason=reason,
            scores=scores_of(platform.artifacts, to),
        )
        if overridden:
            principal.require(role_to_override(to))
        moved = move_alias(
            work,
            present,
            name=clean_name(alias),
            to=to,
            kind=MoveKind.PROMOTED,
            reason=reason,
            actor=principal.name,
            override=overridden,
            now=now,
        )
        work.commit()
    return moved
