"""Point an alias at a version: the one way in which aliases move."""

from datetime import datetime

from core.domain.registry.alias import Alias, MoveKind, move
from core.domain.registry.version import Version
from core.ports import UnitOfWork


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
    """Write an alias, the row of its history, and that a promoted version went live.

    `alias` is the present one, None to create it. Raises StaleRevision if it has moved since.
    """
    moved, row = move(
        alias, name=name, to=to, kind=kind, reason=reason, actor=actor, override=override, now=now
    )
    work.aliases.move(moved, row)
    if kind is MoveKind.PROMOTED:
        work.versions.save(to.went_live())
    return moved
