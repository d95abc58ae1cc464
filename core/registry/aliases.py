"""Aliases: which version is live, and the history of moves."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from core.errors import NoPrevious, StaleRevision
from core.gate.rules import Verdict
from core.outbox.rules import EventType, OutboxEvent
from core.registry.versions import Version, version_path
from core.values import ModelId, PolicyId, TrialId, new_id

PRODUCTION = "production"


class MoveKind(StrEnum):
    """The kinds of moves of an alias."""

    CREATED = "created"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    DELETED = "deleted"


@dataclass(frozen=True, kw_only=True)
class Alias:
    """A name for the live version; its revision increases with each move."""

    model: ModelId
    name: str
    version: int
    revision: int
    updated_at: datetime
    trial: TrialId | None = None  # the one that runs; a move ends it


@dataclass(frozen=True, kw_only=True)
class AliasMove:
    """One row of an alias's history; `revision` is that of the alias after the move."""

    model: ModelId
    alias: str
    revision: int
    kind: MoveKind
    from_version: int | None
    to_version: int | None  # None: the alias was deleted
    reason: str
    actor: str
    at: datetime
    override: bool = False  # the gate would have refused the move
    verdict: Verdict | None = None  # that decided; None: none had to, or none was there
    policy: PolicyId | None = None  # under which it decided


def require_revision(alias: Alias | None, expected: int | None) -> None:
    """Raise StaleRevision if an alias has moved since the caller decided on a revision.

    0 expects that there is no such alias yet, None takes whatever is there.
    """
    revision = alias.revision if alias else 0
    if expected is not None and expected != revision:
        raise StaleRevision(expected=expected, revision=revision)


def move(
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
    policy: PolicyId | None = None,
    last_revision: int = 0,
) -> tuple[Alias, AliasMove]:
    """Return the alias after a move, and the row of its history.

    A new alias goes on counting from the `last_revision` of a deleted one of that name, so that an
    ETag of the deleted one never matches.
    """
    revision = (alias.revision if alias else last_revision) + 1
    moved = Alias(model=to.model, name=name, version=to.number, revision=revision, updated_at=now)
    row = AliasMove(
        model=to.model,
        alias=name,
        revision=revision,
        kind=MoveKind.CREATED if alias is None else kind,
        from_version=alias.version if alias else None,
        to_version=to.number,
        reason=reason,
        actor=actor,
        at=now,
        override=override,
        verdict=verdict,
        policy=policy,
    )
    return moved, row


def delete(alias: Alias, *, reason: str, actor: str, now: datetime) -> AliasMove:
    """Return the row of its history that ends an alias."""
    return AliasMove(
        model=alias.model,
        alias=alias.name,
        revision=alias.revision + 1,
        kind=MoveKind.DELETED,
        from_version=alias.version,
        to_version=None,
        reason=reason,
        actor=actor,
        at=now,
    )


def since_created(history: Sequence[AliasMove]) -> Sequence[AliasMove]:
    """Return the moves of an alias without those of deleted ones of that name before it."""
    rows = sorted(history, key=lambda row: row.revision)
    ends = [place for place, row in enumerate(rows) if row.kind is MoveKind.DELETED]
    return rows[ends[-1] + 1 :] if ends else rows


def rollback_target(
    history: Sequence[AliasMove], *, failed: Collection[int] = (), deleted: Collection[int] = ()
) -> int:
    """Return the version that a rollback goes to: the one live before the present one.

    The history is read as a stack: promotions push, rollbacks pop back to their target. So
    two rollbacks in a row go two versions back and never toggle. Versions that went live only by
    override, and those in `failed`, are skipped; those that are `deleted` are not even offered, nor
    is the present one, which may have been live before as well. Raises NoPrevious if none is left.
    """
    stack = live_stack(history)
    before = [number for number in stack[:-1] if number not in {*deleted, stack[-1]}]
    skipped = by_override(history) | set(failed)
    found = next((number for number in reversed(before) if number not in skipped), None)
    if found is None and before:
        named = ", ".join(f"version {number}" for number in before)
        raise NoPrevious(
            "All versions that were live before have failed beside their parent or went live by "
            f"override: name the version to roll back to with 'to' ({named}), and override "
            "the gate.",
            versions=before,
        )
    if found is None:
        raise NoPrevious
    return found


def rollback_target_from_newest(
    newest: Sequence[AliasMove], *, failed: Collection[int] = (), deleted: Collection[int] = ()
) -> int | None:
    """Return what `rollback_target` does, None if that takes more than the newest moves."""
    stack = live_stack_end(newest)
    for number in reversed(stack[:-1]):
        if number not in {*deleted, *failed, stack[-1]}:
            rows = [row for row in since_created(newest) if row.to_version == number]
            return None if all(row.override for row in rows) else number
    return None


def by_override(history: Sequence[AliasMove]) -> set[int]:
    """Return the versions that an alias has moved to only by override."""
    rows = [(row.to_version, row.override) for row in since_created(history)]
    allowed = {number for number, override in rows if not override}
    return {number for number, override in rows if override and number is not None} - allowed


def live_stack(history: Sequence[AliasMove]) -> list[int]:
    """Return the versions that rollbacks would go back to, and the live one last."""
    return _stack(since_created(history), [])


def live_stack_end(newest: Sequence[AliasMove]) -> list[int]:
    """Return what the newest moves of an alias tell of the end of its `live_stack`."""
    rows = since_created(newest)
    first = rows[0].from_version if rows else None
    return _stack(rows, [] if first is None else [first], is_end=True)


def _stack(rows: Sequence[AliasMove], live: list[int], *, is_end: bool = False) -> list[int]:
    for row in rows:
        if row.to_version is None:
            continue
        if row.kind is MoveKind.ROLLED_BACK and row.to_version in live:
            while live[-1] != row.to_version:
                live.pop()
        elif row.kind is MoveKind.ROLLED_BACK and is_end:
            live = [row.to_version]  # which may be further down than these moves tell
        else:
            live.append(row.to_version)
    return live


def was_live(history: Sequence[AliasMove], version: int) -> bool:
    """Return whether an alias has ever pointed to a version."""
    return any(row.to_version == version for row in since_created(history))


# The event that webhooks receive.


def alias_moved(row: AliasMove) -> OutboxEvent:
    """Return the event of a row in an alias's history, which may be the last one."""
    links = {"alias": f"/v1/models/{row.model}/aliases/{row.alias}"}
    if row.to_version is not None:
        links["version"] = version_path(row.model, row.to_version)
    return OutboxEvent(
        id=new_id("evt", row.at),
        type=EventType.ALIAS_DELETED if row.to_version is None else EventType.ALIAS_MOVED,
        object=f"{row.model}@{row.alias}",
        model=row.model,
        data={
            "model": row.model,
            "alias": row.alias,
            "revision": row.revision,
            "kind": row.kind.value,
            "from_version": row.from_version,
            "to_version": row.to_version,
            "links": links,
        },
        at=row.at,
    )
