"""Aliases: which version is live, how it got there, and who may move it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from core.domain.values import ModelId
from core.domain.version import Version
from core.errors import NoPrevious, StaleRevision

PRODUCTION = "production"


class MoveKind(StrEnum):
    """Why an alias moved."""

    CREATED = "created"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True, kw_only=True)
class Alias:
    """A name for the version that is live; its revision rises with each move."""

    model: ModelId
    name: str
    version: int
    revision: int
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class AliasMove:
    """One row of an alias's history; `revision` is the alias's after the move."""

    model: ModelId
    alias: str
    revision: int
    kind: MoveKind
    from_version: int | None
    to_version: int
    reason: str
    actor: str
    at: datetime
    override: bool = False  # the gate would not have let it go live


def move(
    alias: Alias | None,
    *,
    model: ModelId,
    name: str,
    to: Version,
    kind: MoveKind,
    reason: str,
    actor: str,
    expected_revision: int | None,
    now: datetime,
) -> tuple[Alias, AliasMove]:
    """The alias after a move, with its history row.

    `expected_revision` is what the caller decided on (0: no alias yet, None: whatever is);
    raises StaleRevision when the alias has moved since.
    """
    revision = alias.revision if alias else 0
    if expected_revision is not None and expected_revision != revision:
        raise StaleRevision(expected=expected_revision, revision=revision)
    moved = Alias(model=model, name=name, version=to.number, revision=revision + 1, updated_at=now)
    row = AliasMove(
        model=model,
        alias=name,
        revision=moved.revision,
        kind=MoveKind.CREATED if alias is None else kind,
        from_version=alias.version if alias else None,
        to_version=to.number,
        reason=reason,
        actor=actor,
        at=now,
    )
    return moved, row


def version_before(history: Sequence[AliasMove], *, failed: Collection[int] = ()) -> int:
    """The version a rollback goes to: the one live before the present one.

    The history is read as a stack: promotions push, rollbacks pop back to their target. So
    two rollbacks in a row go two versions back and never toggle. Versions that went live by
    override alone, and those in `failed`, are passed over. Raises NoPrevious.
    """
    before = live_stack(history)[:-1]
    passed_over = by_override(history) | set(failed)
    found = next((number for number in reversed(before) if number not in passed_over), None)
    if found is None and before:
        named = ", ".join(f"version {number}" for number in before)
        raise NoPrevious(
            "What was live before has failed the gate or went live by override alone: name the "
            f"version to go back to with 'to' ({named}).",
            versions=before,
        )
    if found is None:
        raise NoPrevious
    return found


def by_override(history: Sequence[AliasMove]) -> set[int]:
    """The versions that an alias has come to by override alone."""
    let_through = {row.to_version for row in history if not row.override}
    return {row.to_version for row in history if row.override} - let_through


def live_stack(history: Sequence[AliasMove]) -> list[int]:
    """The versions that rollbacks would come back to, and last the one that is live."""
    live: list[int] = []
    for row in sorted(history, key=lambda row: row.revision):
        if row.kind is MoveKind.ROLLED_BACK and row.to_version in live:
            while live[-1] != row.to_version:
                live.pop()
        elif not live or live[-1] != row.to_version:
            live.append(row.to_version)
    return live


def was_live(history: Sequence[AliasMove], version: int) -> bool:
    """Whether an alias has pointed to this version at any time."""
    return any(row.to_version == version for row in history)
