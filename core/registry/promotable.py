"""Rules that let a version go live or refuse it; `promote.py` calls them before it moves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core import errors
from core.gate.rules import Verdict
from core.principal import Role
from core.registry.verdicts import ORDER, VersionVerdict, worst
from core.registry.versions import Model, Version
from core.values import Digest, Json, SuiteId

Scores = Callable[[Digest | None], Json]  # what a report says in a refusal

OVERRIDE = "override the gate with a reason that states what is lost"
SHADOW = "try it as a shadow"
MOVE = "moving an alias to it"


@dataclass(frozen=True, kw_only=True)
class PromotionRequirements:
    """The requirements that verdicts must cover for their version to go live under an alias."""

    model: Model
    alias: str
    names: Mapping[str, str]  # of the suites and the policy in force, by id
    parent: int | None  # of the version
    live: Version | None  # what would be replaced; None if nothing is live, or the version itself
    back: bool = False  # whether `live` descends from the version
    lost: tuple[Version, ...] = ()  # updates that `live` inherits and the version lacks
    lost_classes: tuple[str, ...] = ()  # taught by these and not learned by the version
    # The classes of `live` that the version has not learned: callers who send none get them no
    # longer.
    unlisted: tuple[str, ...] = ()
    # Where nothing is live to compare with: the ancestors since the nearest that a passing verdict
    # let go live, each with the worst verdict beside its parent. Of a conversion of what is not
    # live, that version. Where something is live, imported ancestors without a verdict, too.
    unproven: tuple[tuple[Version, VersionVerdict | None], ...] = ()
    added: Mapping[int, SuiteId] = field(default_factory=dict)  # to the holdouts of the line's
    # updates and of the lost ones, by the version's number
    # The ancestors but the parent that a passing verdict has let go live.
    settled: frozenset[int] = frozenset()

    @property
    def beside(self) -> int | None:
        """The version that a verdict must be about the replacement of; the parent if none is."""
        return self.live.number if self.live else self.parent

    def deciding(self, verdicts: Sequence[VersionVerdict]) -> VersionVerdict | None:
        """Return the verdict that decides, the worst of those that count; None if none covers this.

        Those beside the parent count too, whatever is live: more images may have been judged there
        since, and a version that forgot what its parent knew has forgotten it everywhere.
        """
        counting = [
            one
            for one in verdicts
            if one.beside in {self.beside, self.parent}
            and one.covers(self.model, self._added_for(one), self.settled)
        ]
        found = worst(counting)
        if found and found.verdict is Verdict.FAILED:
            return found
        return found if any(map(self._is_about, counting)) else None

    def outcome(self, verdicts: Sequence[VersionVerdict]) -> Verdict | None:
        """Return the verdict by which the version goes live; None if none covers that.

        A failure of what it was made from counts all the same.
        """
        found = self.deciding(verdicts)
        before = [one.verdict if one else Verdict.INCONCLUSIVE for _, one in self.unproven]
        if found is None:
            return Verdict.FAILED if Verdict.FAILED in before else None
        return max([found.verdict, *before], key=ORDER.index)

    def loses_unasked(self, verdicts: Sequence[VersionVerdict]) -> bool:
        """Return whether the version lacks what would be replaced, and no verdict is about that.

        Whoever orders an evaluation names the alias, and so whether there is such a verdict.
        """
        lacks = self.lost or self.lost_classes or self.unlisted
        return bool(lacks) and not any(map(self._is_about, verdicts))

    def _added_for(self, verdict: VersionVerdict) -> list[SuiteId]:
        """Return what was added to the holdouts that a verdict is about."""
        lost = {one.number for one in self.lost} - {*verdict.updates}
        return [suite for number, suite in self.added.items() if number not in lost]

    def _is_about(self, verdict: VersionVerdict) -> bool:
        """Return whether a verdict is about the replacement, and all that it would lose."""
        asked = {one.number for one in self.lost} <= {*verdict.updates}
        return verdict.beside == self.beside and asked

    def missing_from(self, verdicts: Sequence[VersionVerdict]) -> dict[str, Any]:
        """Return what the newest fitting verdict does not cover, as facts."""
        beside = [one for one in verdicts if one.beside == self.beside]
        whole = [*filter(self._is_about, beside)]
        newest = max(whole or beside or verdicts, key=lambda one: one.at)
        facts: dict[str, Any] = {}
        if missing := [
            self.names[suite] for suite in self.model.suites if suite not in newest.suites
        ]:
            facts["suites"] = missing
        known = {*newest.holdouts}
        if grown := [
            number
            for number, suite in self.added.items()
            if suite in self._added_for(newest) and suite not in known
        ]:
            facts["holdouts"] = sorted(grown)
        if since := self.settled - {*newest.settled, newest.beside}:
            facts["settled"] = sorted(since)
        if newest.policy != self.model.policy:
            facts["policy"] = self.names[self.model.policy]
        if not beside:
            facts["live"] = self.beside
        elif not whole:
            facts["updates"] = [one.number for one in self.lost]
        return facts


def require_promotable(
    version: Version,
    now: PromotionRequirements,
    verdicts: Sequence[VersionVerdict],
    *,
    override: bool,
    reason: str,
    scores: Scores,
) -> bool:
    """Raise unless an alias may move to a version; return whether that took the override.

    A version may go live if the deciding verdict passed it, or if that is inconclusive and there is
    a reason. It takes a reason, too, if callers who send no classes would get some no longer. An
    override with a reason skips every check but that for a missing verdict. Raises
    EvaluationPending, LearnedErasedImages, GateFailed with the scores, or EvaluationStale with what
    no verdict covers.
    """
    _require_judged(version, verdicts)
    try:
        _require(version, now, verdicts, reason=reason, scores=scores)
    except errors.PerennialError:
        if override and reason:
            return True
        raise
    return False


def require_canary(
    version: Version,
    now: PromotionRequirements,
    verdicts: Sequence[VersionVerdict],
    *,
    reason: str,
    scores: Scores,
) -> None:
    """Raise unless a version may answer callers beside the live one, which takes no override.

    It may if an alias might move to it. Raises what `require_promotable` raises.
    """
    _require_judged(version, verdicts)
    _require(version, now, verdicts, reason=reason, scores=scores, canary=True)


def require_override(
    version: Version,
    failed: VersionVerdict | None,
    *,
    override: bool,
    rightly: bool,
    scores: Scores,
) -> bool:
    """Raise unless an alias may move back to a version; return whether that took the override.

    `failed` is the verdict that keeps it from that, and `rightly` says whether the alias has ever
    moved to it without an override. A verdict beside what replaced the version says nothing about
    going back. Raises LearnedErasedImages or
    GateFailed.
    """
    if version.erasure is None and failed is None and rightly:
        return False
    if override:
        return True
    version.require_clean()
    if failed is not None:
        raise _gate_failed(failed, f"{MOVE} requires an override and a reason", scores)
    raise errors.GateFailed(
        f"Version {version.number} was live by override alone: going back to it requires another.",
        version=version.number,
        verdict=version.verdict and version.verdict.value,
        scores=scores(version.report),
    )


def failed_since(
    version: Version, model: Model, verdicts: Sequence[VersionVerdict]
) -> VersionVerdict | None:
    """Return the verdict, if any, that keeps an alias from moving back to a version.

    A failure under another policy stands until the version is judged by the one in force.
    """
    own = [one for one in verdicts if one.beside == version.parent]
    in_force = [one for one in own if one.covers(model)]
    return worst(one for one in in_force or own if one.verdict is Verdict.FAILED)


def role_in_spite_of(
    refusal: errors.PerennialError | None,
    version: Version,
    verdicts: Sequence[VersionVerdict],
    now: PromotionRequirements | None = None,
) -> Role | None:
    """Return the role that an override of a refusal takes; None if no override helps.

    Where an index has no vectors for the version, that is an operator's: its searches stay with the
    version that they have until the index has followed.
    """
    if isinstance(refusal, errors.IndexNotReady):
        return Role.OPERATOR
    gate = (errors.GateFailed, errors.EvaluationStale, errors.LearnedErasedImages)
    return role_to_override(version, verdicts, now) if isinstance(refusal, gate) else None


def role_to_override(
    version: Version,
    verdicts: Sequence[VersionVerdict],
    now: PromotionRequirements | None = None,
) -> Role:
    """Return the role that may let a version go live although the gate would refuse it.

    One that has failed anywhere takes an administrator, also if no verdict is about what it would
    replace `now`; and so does one that lacks what that has learned, if none is about it. A rollback
    requires nothing of that.
    """
    failed = any(one.verdict is Verdict.FAILED for one in verdicts)
    unasked = now is not None and now.loses_unasked(verdicts)
    admin = failed or unasked or version.erasure is not None
    return Role.ADMIN if admin else Role.OPERATOR


def _require_judged(version: Version, verdicts: Sequence[VersionVerdict]) -> None:
    if not (verdicts or version.is_root):
        raise errors.EvaluationPending(version=version.number)


def _require(
    version: Version,
    now: PromotionRequirements,
    verdicts: Sequence[VersionVerdict],
    *,
    reason: str,
    scores: Scores,
    canary: bool = False,
) -> None:
    version.require_clean()
    otherwise = SHADOW if canary else OVERRIDE
    if version.is_root:  # never scored, but lacks what has been learned since
        if now.live is not None:
            raise _stale(version, now, {"live": now.live.number}, otherwise)
        return
    deciding = now.deciding(verdicts)
    if deciding is None:
        raise _stale(version, now, now.missing_from(verdicts), otherwise)
    what = "a canary of it" if canary else MOVE
    if deciding.verdict is Verdict.INCONCLUSIVE and not reason:
        raise _gate_failed(deciding, f"{what} requires a reason", scores)
    if deciding.verdict is Verdict.FAILED and canary:
        raise _gate_failed(deciding, f"it may not answer callers; {SHADOW}", scores)
    if deciding.verdict is Verdict.FAILED:
        raise _gate_failed(deciding, f"{what} requires an override and a reason", scores)
    outcome = now.outcome(verdicts)
    if outcome is Verdict.FAILED or (outcome is Verdict.INCONCLUSIVE and not reason):
        raise _descends_from_unproven(version, now, outcome, scores)
    if now.unlisted and not reason:
        raise _shortens_list(deciding, now, what, scores)


def _descends_from_unproven(
    version: Version, now: PromotionRequirements, outcome: Verdict, scores: Scores
) -> errors.GateFailed:
    """Return the refusal of a version whose ancestors nobody has let go live by their verdicts."""
    ancestor, verdict = next(
        (one, found)
        for one, found in now.unproven
        if (found.verdict if found else Verdict.INCONCLUSIVE) is outcome
    )
    told = "nor judged it by one"
    if now.live is not None:
        told = f"nor judged it beside version {now.live.number}"
    if verdict:
        told = f"and its verdict is {verdict.verdict.value!r}"
    failed = outcome is Verdict.FAILED
    needed = f"{'an override and ' if failed else ''}a reason"
    if now.live is not None and not version.is_conversion:
        return errors.GateFailed(
            f"Version {version.number} descends from version {ancestor.number}, which was imported "
            f"and has not gone live: what it was taught elsewhere may be images of suites here. To "
            f"let version {version.number} go live requires {needed}.",
            version=ancestor.number,
            scores=scores(None),
        )
    why = f"Nothing is live as {now.alias!r} to compare version {version.number} with"
    if now.live is not None:
        why = f"Version {version.number} was converted and not taught"
    return errors.GateFailed(
        f"{why}, so what it descends from counts, too. No passing verdict has let version "
        f"{ancestor.number} go live by a policy as strict as the model's, {told}: {MOVE} requires "
        f"{needed}.",
        version=ancestor.number,
        verdict=verdict and verdict.verdict.value,
        beside=verdict.beside if verdict else ancestor.parent,
        scores=scores(verdict.report if verdict else None),
    )


def _shortens_list(
    verdict: VersionVerdict, now: PromotionRequirements, what: str, scores: Scores
) -> errors.GateFailed:
    """Return the refusal of a version that has not learned what callers get by default."""
    return errors.GateFailed(
        f"Callers who send no `classes` would get {', '.join(now.unlisted)} no longer: version "
        f"{verdict.version} has not learned what the live version has. {what.capitalize()} "
        "requires a reason.",
        version=verdict.version,
        verdict=verdict.verdict.value,
        beside=verdict.beside,
        scores=scores(verdict.report),
        lost={"classes": list(now.unlisted)},
    )


def _gate_failed(verdict: VersionVerdict, needed: str, scores: Scores) -> errors.GateFailed:
    return errors.GateFailed(
        f"The gate's verdict on version {verdict.version} beside version {verdict.beside} is "
        f"{verdict.verdict.value!r}: {needed}.",
        version=verdict.version,
        verdict=verdict.verdict.value,
        beside=verdict.beside,
        scores=scores(verdict.report),
    )


def _stale(
    version: Version, now: PromotionRequirements, facts: dict[str, Any], otherwise: str
) -> errors.EvaluationStale:
    """Return the refusal: what is missing, what would be lost and what to do."""
    lines = []
    if "live" in facts:
        lines.append(_not_compared(version, now, facts["live"]))
    if "updates" in facts:
        lines.append(_not_asked(version, now))
    if "live" in facts or "updates" in facts:
        facts["lost"] = {
            "versions": [lost.number for lost in now.lost],
            "classes": list(now.lost_classes),
        }
    if "suites" in facts:
        left_out = ", ".join(facts["suites"])
        lines.append(
            f"The verdict on version {version.number} does not cover these suites of the model, as "
            f"they are now: {left_out}."
        )
    if "holdouts" in facts:
        grown = " and ".join(f"version {number}" for number in facts["holdouts"])
        lines.append(
            f"The verdict on version {version.number} does not cover the test images that were "
            f"added to the holdout of {grown}."
        )
    if "settled" in facts:
        since = " and ".join(f"version {number}" for number in facts["settled"])
        lines.append(
            f"The verdict on version {version.number} does not compare it with {since}, which went "
            "live after it was given."
        )
    if "policy" in facts:
        lines.append(
            f"The verdict on version {version.number} was made under another policy than the "
            f"model's current one, {facts['policy']!r}."
        )
    if now.back and now.live:
        lines.append(f"Version {now.live.number} descends from it: roll back, or {otherwise}.")
    else:
        names = {"model": now.model.name, "version": version.number, "alias": now.alias}
        facts["score_again"] = {"type": "evaluate", **names}
        lines.append(f"Score it again, or {otherwise}.")
    return errors.EvaluationStale(" ".join(lines), version=version.number, **facts)


def _not_compared(version: Version, now: PromotionRequirements, live: int) -> str:
    text = f"Version {live} is live as {now.alias!r}. Version {version.number}"
    if live in {one.number for one in now.lost}:
        text = f"{text} does not descend from it and"
    text = f"{text} was not compared with it"
    return f"{text}; {_lacks(now)}." if now.lost else f"{text}."


def _not_asked(version: Version, now: PromotionRequirements) -> str:
    return (
        f"What is live as {now.alias!r} has replaced versions whose updates version "
        f"{version.number} was not asked about; {_lacks(now)}."
    )


def _lacks(now: PromotionRequirements) -> str:
    if now.lost_classes:
        return f"it has not learned {', '.join(now.lost_classes)}"
    lost = ", ".join(f"version {one.number}" for one in now.lost)
    return f"it lacks the updates that led to {lost}"
