"""Point an alias at a version: the one way in which aliases move."""

from datetime import datetime

from core.domain.access.audit import Action
from core.domain.registry.alias import Alias, AliasMove, MoveKind, move
from core.domain.registry.version import Version
from core.domain.trials.trial import TrialEnd
from core.domain.webhooks.event import alias_moved
from core.ports import UnitOfWork
from core.use_cases.access import audit
from core.use_cases.trials.end_trial import end_trial

ACTIONS = {
    MoveKind.CREATED: Action.ALIAS_CREATED,
    MoveKind.PROMOTED: Action.ALIAS_MOVED,
    MoveKind.ROLLED_BACK: Action.ALIAS_ROLLED_BACK,
}


def move_alias(
    work: UnitOfWork,
    alias: Alias | None,
    *,
    name: str,
    to: Version,
    kind: MoveKind,
    reason: str,
    actor: str,
    now: datetime,
    override: bool = False,
) -> Alias:
    """Write an alias, the row of its history, its events, and that a version went live.

    `alias` is the present one, None to create it. Raises StaleRevision if it has moved since.
    """
    moved, row = move(
        alias,
        name=name,
        to=to,
        kind=kind,
        reason=reason,
        actor=actor,
        override=override,
        now=now,
        last_revision=work.aliases.last_revision(to.model, name) if alias is None else 0,
    )
    work.aliases.move(moved, row)
    work.outbox.add(alias_moved(row))
    _end_trial(work, to, row)
    if kind is MoveKind.PROMOTED:
        work.versions.save(to.went_live())
    audit.record(
        work,
        ACTIONS[row.kind],
        f"models/{work.models.get(to.model).name}/aliases/{name}",
        now=now,
        before={"version": alias.version} if alias else None,
        after={"version": to.number, "override": override},
        reason=reason,
        actor=actor,
    )
    return moved


def _end_trial(work: UnitOfWork, to: Version, row: AliasMove) -> None:
    """End the trial that the alias has: of this version, which takes over, or of another."""
    trial = next((one for one in work.trials.running(to.model) if one.alias == row.alias), None)
    if trial is not None:
        end = TrialEnd.PROMOTED if trial.candidate == to.number else TrialEnd.ALIAS_MOVED
        model = work.models.get(to.model)
        end_trial(work, model, row.alias, end, actor=row.actor, now=row.at, reason=row.reason)
