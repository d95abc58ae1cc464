"""Rules that let a version go live or refuse it; `promote.py` calls them before it moves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core import errors
from core.gate.rules import Verdict
from core.principal import Role
from core.registry.versions import Version
from core.values import Json, PolicyId, SuiteId


@dataclass(frozen=True, kw_only=True)
class ReportCoverage:
    """The suites, policy and live version that a version's newest verdict covers."""

    suites: frozenset[str]  # ids
    policy: str  # id
    live: int | None  # the version outside its lineage that it was compared with

    @classmethod
    def of(cls, report: Json) -> "ReportCoverage":
        """Return what a stored report covers."""
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
        raise errors.EvaluationPending(version=version.number)
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
) -> errors.PerennialError | None:
    try:
        version.require_clean()
    except errors.LearnedErasedImages as refusal:
        return refusal
    if version.is_root:  # never scored, but lacks what has been learned since
        facts = {"live": now.live.number} if now.live else {}
    elif version.verdict is Verdict.PASSED or (version.verdict is Verdict.INCONCLUSIVE and reason):
        facts = now.missing_from(covered)
    else:
        return _gate_failed(version, scores)
    return _stale(version, now, facts, known=covered is not None) if facts else None


def _gate_failed(version: Version, scores: Json) -> errors.GateFailed:
    verdict = version.verdict.value if version.verdict else None
    needed = "a reason" if version.verdict is Verdict.INCONCLUSIVE else "an override and a reason"
    return errors.GateFailed(
        f"The gate's verdict on version {version.number} is {verdict!r}: moving an alias to it "
        f"requires {needed}.",
        version=version.number,
        verdict=verdict,
        scores=scores,
    )


def _stale(
    version: Version, now: PromotionRequirements, facts: dict[str, Any], *, known: bool
) -> errors.EvaluationStale:
    """Return the refusal: what is missing, what would be lost and what to do."""
    lines = []
    if "live" in facts:
        lines.append(_not_compared(version, now, facts["live"]))
        facts["lost"] = {
            "versions": [lost.number for lost in now.lost],
            "classes": list(now.lost_classes),
        }
    if not (known or version.is_root):
        lines.append(f"The report of version {version.number} is gone or damaged.")
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
    return errors.EvaluationStale(" ".join(lines), version=version.number, **facts)


def _not_compared(version: Version, now: PromotionRequirements, live: int) -> str:
    text = (
        f"Version {live} is live as {now.alias!r}. Version {version.number} does not descend from "
        "it and was not compared with it"
    )
    if now.lost_classes:
        return f"{text}; it has not learned {', '.join(now.lost_classes)}."
    lost = ", ".join(f"version {one.number}" for one in now.lost)
    return f"{text}; it lacks the updates that led to {lost}."
