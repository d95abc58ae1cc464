"""Promote a version, roll an alias back."""

from dataclasses import replace

from core.domain.gate.policy import Verdict
from core.domain.registry.alias import Alias, MoveKind, move, version_before, was_live
from core.domain.registry.promotion import require_override, require_promotable
from core.domain.registry.version import Version, Weights
from core.domain.values import ModelId, clean_name
from core.errors import ArtifactGone, FieldInvalid
from core.ports import Artifacts, Platform, UnitOfWork
from core.use_cases.registry.in_force import answered_by, in_force
from core.use_cases.registry.reports import scores_of


def promote(
    platform: Platform,
    *,
    model: str,
    alias: str,
    version: int,
    expected_revision: int | None,
    reason: str,
    override: bool,
    actor: str,
) -> Alias:
    """Point an alias at a version that the gate lets through.

    `expected_revision` is 0 to create. Raises GateFailed with the scores, EvaluationPending,
    EvaluationStale, StaleRevision, FieldInvalid (an override without a reason) or ArtifactGone.
    """
    if override and not reason:
        raise FieldInvalid("An override needs a reason.", pointer="/reason")
    with platform.transactions(read_only=True) as work:
        found = work.models.get(model)
        to = work.versions.get(found.id, version)
    require_weights(platform.artifacts, to)
    now = platform.clock()
    with platform.transactions() as work:
        to = work.versions.get(found.id, version, lock=True)
        to.require_weights()
        moved, row = move(
            work.aliases.find(found.id, alias),
            model=found.id,
            name=clean_name(alias),
            to=to,
            kind=MoveKind.PROMOTED,
            reason=reason,
            actor=actor,
            expected_revision=expected_revision,
            now=now,
        )
        overridden = require_promotable(
            to,
            in_force(work, to, alias),
            answered_by(platform.artifacts, to),
            override=override,
            reason=reason,
            scores=scores_of(platform.artifacts, to),
        )
        work.aliases.move(moved, replace(row, override=overridden))
        work.versions.save(to.went_live())
        work.commit()
    return moved


def roll_back(
    platform: Platform,
    *,
    model: str,
    alias: str,
    to: int | None,
    expected_revision: int | None,
    reason: str,
    actor: str,
    override: bool = False,
) -> Alias:
    """Point an alias at the version that was live before, or at a named one that was.

    Unless it is named, a version that failed the gate, or that went live by override alone, is
    passed over; to name one that failed takes `override`. Raises NoPrevious, VersionNotFound,
    FieldInvalid (no reason, or never live), GateFailed, StaleRevision or ArtifactGone.
    """
    if not reason:
        raise FieldInvalid("A rollback needs a reason.", pointer="/reason")
    with platform.transactions(read_only=True) as work:
        found = work.models.get(model)
        seen = work.aliases.get(found.id, alias)
        history = work.aliases.history(found.id, alias)
        if to is None:
            to = version_before(history, failed=_failed(work, found.id))
        target = work.versions.get(found.id, to)
    if not was_live(history, target.number):
        raise FieldInvalid(
            f"Version {target.number} was never live as {alias!r}: promote it.", pointer="/to"
        )
    require_weights(platform.artifacts, target)
    now = platform.clock()
    with platform.transactions() as work:
        target = work.versions.get(found.id, target.number, lock=True)
        target.require_weights()
        scores = scores_of(platform.artifacts, target)
        overridden = require_override(target, override=override, scores=scores)
        moved, row = move(
            work.aliases.get(found.id, alias),
            model=found.id,
            name=alias,
            to=target,
            kind=MoveKind.ROLLED_BACK,
            reason=reason,
            actor=actor,
            expected_revision=seen.revision if expected_revision is None else expected_revision,
            now=now,
        )
        work.aliases.move(moved, replace(row, override=overridden))
        work.commit()
    return moved


def _failed(work: UnitOfWork, model: ModelId) -> set[int]:
    return {one.number for one in work.versions.all(model) if one.verdict is Verdict.FAILED}


def require_weights(artifacts: Artifacts, version: Version) -> None:
    """Raise ArtifactGone or ArtifactCorrupt unless every byte of a version is there."""
    version.require_weights()
    if not artifacts.has(version.digest):
        raise ArtifactGone(version=version.number)
    for tensor in Weights.from_bytes(artifacts.get(version.digest)).tensors:
        if not artifacts.has(tensor.digest):
            raise ArtifactGone(version=version.number, tensor=tensor.name)
        artifacts.get(tensor.digest)
