"""Move aliases: promote and roll back."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from core.audit import record as audit
from core.audit.rules import Action
from core.database.work import Work
from core.errors import FieldInvalid, PerennialError, StalePreview
from core.gate.rules import Verdict
from core.hooks import Hook
from core.outbox.rows import Outbox
from core.platform import Platform
from core.principal import Principal
from core.registry.alias_rows import Aliases
from core.registry.aliases import (
    Alias,
    AliasMove,
    MoveKind,
    alias_moved,
    by_override,
    live_stack,
    live_stack_end,
    move,
    require_revision,
    rollback_target,
    rollback_target_from_newest,
    was_live,
)
from core.registry.promotable import (
    failed_since,
    require_override,
    require_promotable,
    role_to_override,
)
from core.registry.read import require_weights, scores_of
from core.registry.requirements import promotion_requirements
from core.registry.rows import Models
from core.registry.verdict_rows import Verdicts
from core.registry.verdicts import VersionVerdict
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version
from core.values import ModelId, canonical_json, clean_name, sha256

# What takes part in the transaction of a move, after its rows are written. It may not refuse the
# move: `promotable.py` says what may go live.
ON_MOVE = Hook[[Work, Version, AliasMove], None]("the move of an alias")


# What keeps an alias from moving to a version, beside the gate; each returns its refusal, or None.
OBSTACLES = Hook[[Work, Version, str], PerennialError | None]("the obstacles to a move")

# What takes part when a version that passed would go live by itself but for an obstacle; the alias
# is as it was when that was decided.
ON_POSTPONED = Hook[[Work, Version, Alias], None]("a move that waits")


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
    decided_on: str | None = None,
    require_served: Callable[[Version], None] = lambda _: None,
) -> Alias:
    """Point an alias at a version that `require_promotable` lets through.

    One that points there already stays as it is: nothing is replaced, so nothing is decided.
    `expected_revision` is 0 to create, and `decided_on` is that of the preview that the caller has
    seen. Raises, in this order: FieldInvalid (an override without a reason), ModelNotFound or
    VersionNotFound, ArtifactGone or ArtifactCorrupt, what `require_served` raises of a version that
    callers could not be answered by, StaleRevision, StalePreview, what `require_promotable` raises,
    what `require_free` raises without an override, Forbidden (the override takes a higher role),
    NameInvalid.
    """
    if override and not reason:
        raise FieldInvalid("An override requires a reason.", pointer="/reason")
    with platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        to = work[Versions].get(found.id, version)
    require_weights(platform.artifacts, to)
    require_served(to)
    now = platform.clock()
    with platform.transactions() as work:
        work[Models].hold(found.id)  # the policy that decides is the one that the move names
        to = work[Versions].get(found.id, version, lock=True)
        to.require_weights()
        present = work[Aliases].find(found.id, alias)
        require_revision(present, expected_revision)
        if present is not None and present.version == version:
            return present
        if decided_on not in {None, preview_promotion(work, to, alias).decided_on}:
            raise StalePreview(version=version)
        verdicts = work[Verdicts].counting(to)
        required = promotion_requirements(work, to, alias)
        overridden = require_promotable(
            to,
            required,
            verdicts,
            override=override,
            reason=reason,
            scores=partial(scores_of, platform.artifacts),
        )
        if not override:
            require_free(work, to, alias)
        if overridden:
            before = [one for _, one in required.unproven if one is not None]
            principal.require(role_to_override(to, [*verdicts, *before], required))
        moved = point_alias(
            work,
            present,
            name=clean_name(alias),
            to=to,
            kind=MoveKind.PROMOTED,
            reason=reason,
            actor=principal.name,
            override=overridden,
            verdict=required.outcome(verdicts),
            now=now,
        )
        work.commit()
    return moved


def require_free(work: Work, version: Version, alias: str) -> None:
    """Raise the first refusal of the rooms that keep an alias from moving to a version."""
    if refusal := obstacle_to(work, version, alias):
        raise refusal


def obstacle_to(work: Work, version: Version, alias: str) -> PerennialError | None:
    """Return the first refusal of the rooms that keep an alias from moving to a version, if any."""
    return next((one for one in OBSTACLES(work, version, alias) if one is not None), None)


@dataclass(frozen=True, kw_only=True)
class PromotionPreview:
    """A promotion without a reason, as it would end now."""

    version: int
    live: int | None  # what the alias points at
    revision: int  # of the alias; 0: there is none
    verdict: Verdict | None  # that would decide; None: there is none
    refusal: PerennialError | None
    decided_on: str  # stands for the verdict, its report and the refusal


def preview_promotion(work: Work, version: Version, alias: str) -> PromotionPreview:
    """Return how a promotion without a reason would end now."""
    present = work[Aliases].find(version.model, alias)
    is_live = present is not None and present.version == version.number
    refusal = None if is_live else expected_refusal(work, version, alias, reason="")
    required = promotion_requirements(work, version, alias)
    deciding = required.deciding(work[Verdicts].counting(version))
    shown = [
        [deciding.verdict, deciding.report] if deciding else None,
        [refusal.code, refusal.message] if refusal else None,
    ]
    return PromotionPreview(
        version=version.number,
        live=present.version if present else None,
        revision=present.revision if present else 0,
        verdict=deciding.verdict if deciding else None,
        refusal=refusal,
        decided_on=sha256(canonical_json(shown)),
    )


def expected_refusal(
    work: Work, version: Version, alias: str, *, reason: str = "any"
) -> PerennialError | None:
    """Return why a promotion without an override would be refused now; None if it would not be.

    It has a reason, unless `reason` is empty. Whether all bytes of the weights are there is left to
    the promotion.
    """
    try:
        version.require_weights()
        require_promotable(
            version,
            promotion_requirements(work, version, alias),
            work[Verdicts].counting(version),
            override=False,
            reason=reason,
            scores=lambda _: {},
        )
        require_free(work, version, alias)
    except PerennialError as refusal:
        return refusal
    return None


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

    Unless it is named, a version that has failed beside its parent, learned from images that were
    erased since, or went live by override alone, is passed over; to name one takes `override`.
    An alias that points to a named one already stays as it is.
    Raises LearnedErasedImages, NoPrevious, VersionNotFound, FieldInvalid (no reason, or never
    live), Forbidden (the override takes a higher role), GateFailed, StaleRevision, ArtifactGone, or
    what `require_free` raises without an override.
    """
    if not reason:
        raise FieldInvalid("A rollback requires a reason.", pointer="/reason")
    with platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        seen = work[Aliases].get(found.id, alias)
        moves = () if to is None else work[Aliases].history(found.id, alias)
        number = find_rollback_target(work, found, alias) if to is None else to
        target = work[Versions].get(found.id, number)
    if to is not None and not was_live(moves, to):
        raise FieldInvalid(
            f"Version {target.number} was never live as {alias!r}: promote it instead.",
            pointer="/to",
        )
    require_weights(platform.artifacts, target)
    now = platform.clock()
    with platform.transactions() as work:
        target = work[Versions].get(found.id, target.number, lock=True)
        target.require_weights()
        verdicts = work[Verdicts].counting(target)
        failed = failure_of(work, work[Models].get(found.id), target)
        overridden = require_override(
            target,
            failed,
            override=override,
            rightly=target.number not in by_override(moves),
            scores=partial(scores_of, platform.artifacts),
        )
        if overridden:
            principal.require(role_to_override(target, [*verdicts, *filter(None, [failed])]))
        present = work[Aliases].get(found.id, alias)
        expected = seen.revision if expected_revision is None else expected_revision
        require_revision(present, expected)
        if present.version == target.number:
            return present
        if not override:
            require_free(work, target, alias)
        moved = point_alias(
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


def find_rollback_target(work: Work, model: Model, alias: str) -> int:
    """Return the version that an alias goes back to. Raises NoPrevious.

    All its moves are read only where the newest do not tell, as after many rollbacks.
    """
    newest = work[Aliases].newest_moves(model.id, alias, NEWEST)
    failed, gone = _unfit(work, model, live_stack_end(newest))
    found = rollback_target_from_newest(newest, failed=failed, deleted=gone)
    if found is not None:
        return found
    history = work[Aliases].history(model.id, alias)
    failed, gone = _unfit(work, model, live_stack(history))
    return rollback_target(history, failed=failed, deleted=gone)


def _unfit(
    work: Work, model: Model, numbers: Collection[int]
) -> tuple[Collection[int], Collection[int]]:
    """Return which of some versions take an override to be rolled back to, and which are gone."""
    found = work[Versions].some(model.id, set(numbers))
    unfit = {
        number
        for number, version in found.items()
        if version.erasure is not None or failure_of(work, model, version)
    }
    return unfit, set(numbers) - found.keys()


def failure_of(work: Work, model: Model, version: Version) -> VersionVerdict | None:
    """Return the verdict, if any, that keeps an alias from moving back to a version.

    A conversion has the tensors of its parent, and its failures.
    """
    found = failed_since(version, model, work[Verdicts].counting(version))
    if found is not None or not version.is_conversion or version.parent is None:
        return found
    source = work[Versions].some(model.id, {version.parent}).get(version.parent)
    return failure_of(work, model, source) if source is not None else None


def can_go_back(work: Work, model: ModelId, newest: Sequence[AliasMove]) -> bool:
    """Return whether an alias with these newest moves has another version to go back to.

    All its moves are read only where the newest do not tell, as after many rollbacks.
    """
    if not newest or len(live_stack_end(newest)) > 1:
        return bool(newest)
    return len(live_stack(work[Aliases].history(model, newest[0].alias))) > 1


# Point an alias at a version: the one way in which aliases move.

ACTIONS = {
    MoveKind.CREATED: Action.ALIAS_CREATED,
    MoveKind.PROMOTED: Action.ALIAS_MOVED,
    MoveKind.ROLLED_BACK: Action.ALIAS_ROLLED_BACK,
}


def point_alias(
    work: Work,
    alias: Alias | None,
    *,
    name: str,
    to: Version,
    kind: MoveKind,
    reason: str,
    actor: str,
    now: datetime,
    override: bool = False,
    verdict: Verdict | None = None,
) -> Alias:
    """Write an alias, the row of its history, its events, and that a version went live.

    `alias` is the present one, None to create it.
    `verdict` is the one that decided, if any, under the model's policy. Raises
    StaleRevision if it has moved since.
    """
    model = work[Models].get(to.model)
    moved, row = move(
        alias,
        name=name,
        to=to,
        kind=kind,
        reason=reason,
        actor=actor,
        override=override,
        verdict=verdict,
        policy=model.policy if verdict else None,
        now=now,
        last_revision=work[Aliases].last_revision(to.model, name) if alias is None else 0,
    )
    work[Aliases].move(moved, row)
    work[Outbox].add(alias_moved(row))
    ON_MOVE(work, to, row)
    if kind is MoveKind.PROMOTED:
        work[Versions].save(to.went_live())
    audit.record(
        work,
        ACTIONS[row.kind],
        f"models/{model.name}/aliases/{name}",
        now=now,
        before={"version": alias.version} if alias else None,
        after={"version": to.number, "override": override},
        reason=reason,
        actor=actor,
    )
    return moved
