"""Aliases, and what keeps one from moving."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from core.errors import (
    EvaluationPending,
    EvaluationStale,
    GateFailed,
    LearnedErasedImages,
    NoPrevious,
    PerennialError,
    StaleRevision,
)
from core.gate.rules import Verdict
from core.outbox.rules import EventType, OutboxEvent
from core.principal import Role
from core.registry.versions import Version, _path_of
from core.values import Json, ModelId, PolicyId, SuiteId, TrialId, new_id

# Aliases: which version is live, and the history of their moves.


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
            "All versions that were live before have failed the gate or went live by override: "
            f"name the version to roll back to with 'to' ({named}).",
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
        elif not live or live[-1] != row.to_version:
            live.append(row.to_version)
    return live


def was_live(history: Sequence[AliasMove], version: int) -> bool:
    """Return whether an alias has ever pointed to a version."""
    return any(row.to_version == version for row in since_created(history))


# The check of a version's verdict before an alias moves to it.


@dataclass(frozen=True, kw_only=True)
class ReportCoverage:
    """The suites, policy and live version that a version's newest verdict covers."""

    suites: frozenset[str]  # ids
    policy: str  # id
    live: int | None  # the version outside its lineage that it was compared with

    @classmethod
    def of(cls, report: Json) -> "ReportCoverage | None":
        """Return what a stored report covers; None if an earlier release did not record it."""
        if "suites" not in report:
            return None
        return cls(
            suites=frozenset(report["suites"]), policy=report["policy"]["id"], live=report["live"]
        )


@dataclass(frozen=True, kw_only=True)
class PromotionRequirements:
    """The requirements that a verdict must cover for its version to go live under an alias."""

    model: str  # name
    alias: str
    suites: Mapping[SuiteId, str]  # names by id
    policy: tuple[PolicyId, str]  # id and name
    live: Version | None  # what would be replaced, unless the version descends from it
    back: bool = False  # whether `live` descends from the version
    lost: tuple[Version, ...] = ()  # updates of `live` that the version lacks
    lost_classes: tuple[str, ...] = ()  # taught by these and not learned by the version

    def missing_from(self, covered: ReportCoverage | None) -> dict[str, Any]:
        """Return what a verdict does not cover, as facts; empty if it covers everything."""
        suites = covered.suites if covered else frozenset()
        facts: dict[str, Any] = {}
        if missing := [name for id_, name in self.suites.items() if id_ not in suites]:
            facts["suites"] = missing
        if covered is None or covered.policy != self.policy[0]:
            facts["policy"] = self.policy[1]
        if self.live is not None and (covered is None or covered.live != self.live.number):
            facts["live"] = self.live.number
        return facts


def require_promotable(
    version: Version,
    now: PromotionRequirements,
    covered: ReportCoverage | None,
    *,
    override: bool,
    reason: str,
    scores: Json,
) -> bool:
    """Raise unless an alias may move to a version; return whether that took the override.

    A version that passed may go live if its verdict covers what is in force; so may an
    inconclusive one, with a reason. An override with a reason skips every check but that for a
    missing verdict. Raises EvaluationPending, LearnedErasedImages, GateFailed with the scores, or
    EvaluationStale with what the verdict does not cover.
    """
    if version.verdict is None and not version.is_root:
        raise EvaluationPending(version=version.number)
    refusal = _refusal(version, now, covered, reason=reason, scores=scores)
    if refusal is None:
        return False
    if override and reason:
        return True
    raise refusal


def require_override(version: Version, *, override: bool, scores: Json) -> bool:
    """Raise unless an alias may move back to a version; return whether that took the override.

    Raises LearnedErasedImages or GateFailed.
    """
    if version.erasure is None and version.verdict is not Verdict.FAILED:
        return False
    if not override:
        version.require_clean()
        raise _gate_failed(version, scores)
    return True


def role_to_override(version: Version) -> Role:
    """Return the role that may let a version go live although the gate would refuse it."""
    if version.erasure is not None or version.verdict is Verdict.FAILED:
        return Role.ADMIN
    return Role.OPERATOR


def _refusal(
    version: Version,
    now: PromotionRequirements,
    covered: ReportCoverage | None,
    *,
    reason: str,
    scores: Json,
) -> PerennialError | None:
    try:
        version.require_clean()
    except LearnedErasedImages as refusal:
        return refusal
    if version.is_root:  # never scored, but lacks what has been learned since
        facts = {"live": now.live.number} if now.live else {}
    elif version.verdict is Verdict.PASSED or (version.verdict is Verdict.INCONCLUSIVE and reason):
        facts = now.missing_from(covered)
    else:
        return _gate_failed(version, scores)
    return _stale(version, now, facts, known=covered is not None) if facts else None


def _gate_failed(version: Version, scores: Json) -> GateFailed:
    verdict = version.verdict.value if version.verdict else None
    needed = "a reason" if version.verdict is Verdict.INCONCLUSIVE else "an override and a reason"
    return GateFailed(
        f"The gate's verdict on version {version.number} is {verdict!r}: moving an alias to it "
        f"requires {needed}.",
        version=version.number,
        verdict=verdict,
        scores=scores,
    )


def _stale(
    version: Version, now: PromotionRequirements, facts: dict[str, Any], *, known: bool
) -> EvaluationStale:
    """Return the refusal: what is missing, what would be lost and what to do."""
    lines = []
    if "live" in facts:
        lines.append(_not_compared(version, now, facts["live"]))
        facts["lost"] = {
            "versions": [lost.number for lost in now.lost],
            "classes": list(now.lost_classes),
        }
    if not (known or version.is_root):
        lines.append(
            f"The report of version {version.number} does not list the suites that it covers: it "
            "is damaged, or an earlier release wrote it."
        )
    elif "suites" in facts:
        left_out = ", ".join(facts["suites"])
        lines.append(
            f"The verdict on version {version.number} does not cover these suites of the model: "
            f"{left_out}."
        )
    if known and "policy" in facts:
        lines.append(
            f"The verdict on version {version.number} was made under another policy than the "
            f"model's current one, {facts['policy']!r}."
        )
    override = "send an override with a reason that states what is lost"
    if now.back and now.live:
        lines.append(f"Version {now.live.number} descends from it: roll back, or {override}.")
    else:
        names = {"model": now.model, "version": version.number, "alias": now.alias}
        facts["score_again"] = {"type": "evaluate", **names}
        lines.append(
            f"Score it again: POST /v1/jobs with `score_again` as the body; or {override}."
        )
    return EvaluationStale(" ".join(lines), version=version.number, **facts)


def _not_compared(version: Version, now: PromotionRequirements, live: int) -> str:
    text = (
        f"Version {live} is live as {now.alias!r}. Version {version.number} does not descend from "
        "it and was not compared with it"
    )
    if now.lost_classes:
        return f"{text}; it has not learned {', '.join(now.lost_classes)}."
    lost = ", ".join(f"version {one.number}" for one in now.lost)
    return f"{text}; it lacks the updates that led to {lost}."


# Events that webhooks receive: each says by ids and links what happened.


def alias_moved(row: AliasMove) -> OutboxEvent:
    """Return the event of a row in an alias's history, which may be the last one."""
    links = {"alias": f"/v1/models/{row.model}/aliases/{row.alias}"}
    if row.to_version is not None:
        links["version"] = _path_of(row.model, row.to_version)
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
