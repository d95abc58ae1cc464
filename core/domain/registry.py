"""Aliases: which version is live, how it got there, and who may move it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from core.domain.gate import Verdict
from core.domain.values import Json, ModelId
from core.domain.version import Version
from core.errors import EvaluationPending, GateFailed, NoPrevious, StaleRevision

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


def require_promotable(version: Version, *, override: bool, reason: str, scores: Json) -> None:
    """The gate's last word before an alias moves forward.

    Roots and versions that were live are exempt. An inconclusive version needs a reason, a
    failed one a reason and `override`. Raises EvaluationPending or GateFailed with the scores.
    """
    if version.is_root or version.verdict is Verdict.PASSED:
        return
    if version.verdict is None:
        raise EvaluationPending(version=version.number)
    allowed = bool(reason) and (override or version.verdict is Verdict.INCONCLUSIVE)
    if not allowed:
        raise GateFailed(
            f"The gate's verdict on version {version.number} is {version.verdict.value!r}.",
            version=version.number,
            verdict=version.verdict.value,
            scores=scores,
        )


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


def version_before(history: Sequence[AliasMove]) -> int:
    """The version a rollback goes to: the one live before the present one.

    The history is read as a stack: promotions push, rollbacks pop back to their target. So
    two rollbacks in a row go two versions back and never toggle. Raises NoPrevious.
    """
    live = live_stack(history)
    if len(live) < 2:
        raise NoPrevious
    return live[-2]


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
