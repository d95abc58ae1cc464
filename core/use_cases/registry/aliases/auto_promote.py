"""Promote an update that passed the gate automatically."""

from core.domain.evaluation.report import Report
from core.domain.gate.policy import Verdict
from core.domain.jobs.job import Job
from core.domain.jobs.order import UpdateOrder
from core.domain.registry.alias import MoveKind
from core.domain.registry.promotion import ReportCoverage
from core.domain.registry.version import Version
from core.domain.values import Json
from core.errors import EvaluationStale, LearnedErasedImages, StaleBase, StaleRevision
from core.ports import Platform, UnitOfWork
from core.use_cases.registry.aliases.move_alias import move_alias
from core.use_cases.registry.aliases.promotion_requirements import promotion_requirements


def promote_if_passed(
    platform: Platform,
    work: UnitOfWork,
    job: Job,
    version: Version,
    report: Report,
    order: UpdateOrder,
) -> Json:
    """Move the alias if the gate passed, promotion was requested and nothing has changed since.

    The alias must still point at the parent, and the report must cover the current suites, policy
    and live version.
    """
    outcome = {"alias": order.alias, "moved": False, "reason": f"gate_{version.verdict}"}
    if version.verdict is not Verdict.PASSED:
        return outcome
    if not order.auto_promote or version.erasure is not None:
        reason = LearnedErasedImages().code if order.auto_promote else "not_asked_for"
        return outcome | {"reason": reason}
    alias = work.aliases.find(version.model, order.alias)
    stale = outcome | {"reason": StaleBase().code, "alias_version": alias and alias.version}
    if alias is None or alias.version != version.parent:
        return stale
    covered = ReportCoverage.of(report.to_json())
    if facts := promotion_requirements(work, version, order.alias).missing_from(covered):
        return outcome | {"reason": EvaluationStale().code, **facts}
    try:
        moved = move_alias(
            work,
            alias,
            name=order.alias,
            to=version,
            kind=MoveKind.PROMOTED,
            reason="passed the gate",
            actor=f"job {job.id}",
            now=platform.clock(),
        )
    except StaleRevision:  # it moved just now
        return stale | {"alias_version": work.aliases.get(version.model, order.alias).version}
    return outcome | {"moved": True, "reason": "passed", "revision": moved.revision}
