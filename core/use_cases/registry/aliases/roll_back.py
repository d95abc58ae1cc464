"""Roll an alias back."""

from collections.abc import Collection, Sequence

from core.domain.access.principal import Principal
from core.domain.registry.alias import (
    Alias,
    AliasMove,
    MoveKind,
    live_stack,
    live_stack_end,
    require_revision,
    rollback_target,
    rollback_target_from_newest,
    was_live,
)
from core.domain.registry.promotion import require_override, role_to_override
from core.domain.values import ModelId
from core.errors import FieldInvalid
from core.ports import Platform, UnitOfWork
from core.use_cases.registry.aliases.move_alias import move_alias
from core.use_cases.registry.reports import scores_of
from core.use_cases.registry.stored_weights import require_weights

NEWEST = 20  # moves, which nearly always tell


def roll_back(
    platform: Platform,
    principal: Principal,
    *,
    model: str,
    alias: str,
    to: int | None,
    expected_revision: int | None,
    reason: str,
    override: bool = False,
) -> Alias:
    """Point an alias at the version that was live before, or at a named one that was.

    Unless it is named, a version that failed the gate, learned from images that were erased since,
    or went live by override alone, is passed over; to name one of the first two takes `override`.
    Raises LearnedErasedImages, NoPrevious, VersionNotFound,
    FieldInvalid (no reason, or never live), Forbidden (an override takes an administrator),
    GateFailed, StaleRevision or ArtifactGone.
    """
    if not reason:
        raise FieldInvalid("A rollback requires a reason.", pointer="/reason")
    with platform.transactions(read_only=True) as work:
        found = work.models.get(model)
        seen = work.aliases.get(found.id, alias)
        moves = () if to is None else work.aliases.history(found.id, alias)
        number = find_rollback_target(work, found.id, alias) if to is None else to
        target = work.versions.get(found.id, number)
    if to is not None and not was_live(moves, to):
        raise FieldInvalid(
            f"Version {target.number} was never live as {alias!r}: promote it instead.",
            pointer="/to",
        )
    require_weights(platform.artifacts, target)
    now = platform.clock()
    with platform.transactions() as work:
        target = work.versions.get(found.id, target.number, lock=True)
        target.require_weights()
        scores = scores_of(platform.artifacts, target)
        overridden = require_override(target, override=override, scores=scores)
        if overridden:
            principal.require(role_to_override(target))
        present = work.aliases.get(found.id, alias)
        expected = seen.revision if expected_revision is None else expected_revision
        require_revision(present, expected)
        moved = move_alias(
            work,
            present,
            name=alias,
            to=target,
            kind=MoveKind.ROLLED_BACK,
            reason=reason,
            actor=principal.name,
            override=overridden,
            now=now,
        )
        work.commit()
    return moved


def find_rollback_target(work: UnitOfWork, model: ModelId, alias: str) -> int:
    """Return the version that an alias goes back to. Raises NoPrevious.

    All its moves are read only where the newest do not tell, as after many rollbacks.
    """
    newest = work.aliases.newest_moves(model, alias, NEWEST)
    failed, gone = _unfit(work, model, live_stack_end(newest))
    found = rollback_target_from_newest(newest, failed=failed, deleted=gone)
    if found is not None:
        return found
    history = work.aliases.history(model, alias)
    failed, gone = _unfit(work, model, live_stack(history))
    return rollback_target(history, failed=failed, deleted=gone)


def _unfit(
    work: UnitOfWork, model: ModelId, numbers: Collection[int]
) -> tuple[Collection[int], Collection[int]]:
    """Return which of some versions take an override to be rolled back to, and which are gone."""
    fit = work.versions.fit(model, set(numbers))
    return {number for number, is_fit in fit.items() if not is_fit}, set(numbers) - fit.keys()


def can_go_back(work: UnitOfWork, model: ModelId, newest: Sequence[AliasMove]) -> bool:
    """Return whether an alias with these newest moves has another version to go back to.

    All its moves are read only where the newest do not tell, as after many rollbacks.
    """
    if not newest or len(live_stack_end(newest)) > 1:
        return bool(newest)
    return len(live_stack(work.aliases.history(model, newest[0].alias))) > 1
