"""Promote a version that passed the gate."""

from datetime import datetime
from typing import Any

from core import errors
from core.access.authenticate import holder_of
from core.access.rows import Keys
from core.database.work import Work
from core.evaluation.report import Report
from core.gate.rules import Verdict
from core.jobs.orders import CandidateOrder
from core.jobs.rules import Job
from core.platform import Platform
from core.principal import Role
from core.registry.alias_rows import Aliases
from core.registry.aliases import Alias, MoveKind
from core.registry.promote import ON_POSTPONED, point_alias, require_free
from core.registry.requirements import promotion_requirements
from core.registry.verdict_rows import Verdicts
from core.registry.versions import Version
from core.values import Json


def promote_if_passed(
    platform: Platform,
    work: Work,
    job: Job,
    version: Version,
    report: Report,
    order: CandidateOrder,
) -> Json:
    """Move the alias if the gate passed, promotion was requested and nothing has changed since.

    The alias must still point at the parent, the verdict that decides must have passed the version,
    and the key that ordered it must still allow its holder to move aliases.
    """
    passed = report.verdict is Verdict.PASSED
    reason = "not_asked_for" if passed else f"gate_{report.verdict}"
    outcome = {"alias": order.alias, "moved": False, "reason": reason}
    if not (passed and order.auto_promote):
        return outcome
    try:
        version.require_clean()
        require_promoter(work, job, platform.clock())
    except errors.PerennialError as refusal:
        return outcome | {"reason": refusal.code}
    alias = work[Aliases].find(version.model, order.alias)
    stale = outcome | {"reason": errors.StaleBase().code, "alias_version": alias and alias.version}
    if alias is None or alias.version != version.parent:
        return stale
    if obstacle := _obstacle(work, version, alias):
        return outcome | obstacle
    try:
        moved = point_alias(
            work,
            alias,
            name=order.alias,
            to=version,
            kind=MoveKind.PROMOTED,
            reason="passed the gate",
            verdict=Verdict.PASSED,
            actor=f"job {job.id}",
            now=platform.clock(),
        )
    except errors.StaleRevision:  # it moved just now
        return stale | {"alias_version": work[Aliases].get(version.model, order.alias).version}
    return outcome | {"moved": True, "reason": "passed", "revision": moved.revision}


def _obstacle(work: Work, version: Version, alias: Alias) -> dict[str, Any]:
    """Return why a version may not go live by itself, beside the caller's reasons; empty if it may.

    One that passed, but for which the alias's indexes are not ready, is wanted by them.
    """
    verdicts = work[Verdicts].counting(version)
    now = promotion_requirements(work, version, alias.name)
    deciding = now.deciding(verdicts)
    if deciding is None:
        return {"reason": errors.EvaluationStale().code, **now.missing_from(verdicts)}
    if deciding.verdict is not Verdict.PASSED:
        return {"reason": f"gate_{deciding.verdict}"}
    try:
        require_free(work, version, alias.name)
    except errors.PerennialError as refusal:
        ON_POSTPONED(work, version, alias)
        return {"reason": refusal.code}
    return {}


def require_promoter(work: Work, job: Job, now: datetime) -> None:
    """Raise KeyNotLive or Forbidden if the key that ordered a job allows no moves of aliases now.

    Tokens last for less than an update: what a token ordered stays ordered.
    """
    try:
        key = work[Keys].get(job.ordered_by or "")
    except errors.KeyNotFound:
        return
    key.require_live(now)
    holder = holder_of(key)
    holder.require(Role.OPERATOR)
    if not (holder.models is None or job.model in holder.models):
        raise errors.Forbidden
