"""Choose the suites and the gate policy of a model."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from core.audit import record as audit
from core.audit.rules import Action, given_reason
from core.database.work import Work
from core.datasets.version_rows import Suites
from core.gate.policies import add_policy, clean_policy
from core.gate.rows import Policies
from core.gate.rules import GatePolicy
from core.platform import Platform
from core.registry.rows import Models
from core.registry.versions import Model
from core.values import ModelId, SuiteId


def configure_model(
    platform: Platform,
    model: str,
    *,
    suites: Sequence[str] | None,
    policy: str | GatePolicy | None,
    reason: str = "",
) -> Model:
    """Choose the suites and the policy that judge a model's next versions; None keeps them.

    A policy that is given as a value is stored with it. To take a suite away or to choose another
    policy requires a reason. One more suite does not: it asks more of every version, but where none
    guarded the model before, versions may pass by it. Raises ModelNotFound, SuiteNotFound,
    SuiteRetired or PolicyNotFound; FieldInvalid without a reason; for a new policy what
    `clean_policy` raises, or NameTaken.
    """
    with platform.transactions() as work:
        found = work[Models].get(model)
        if suites is not None:
            work[Models].set_suites(found.id, work[Suites].chosen(suites))
        if isinstance(policy, GatePolicy):
            policy = clean_policy(policy)
            add_policy(work, policy)
            work[Models].set_policy(found.id, policy.id)
        elif policy is not None:
            work[Models].set_policy(found.id, work[Policies].get(policy).id)
        changed = work[Models].get(found.id)
        if changed.policy != found.policy:
            reason = given_reason(reason, "Another policy")
        if {*found.suites} - {*changed.suites}:
            reason = given_reason(reason, "Taking a suite from a model")
        if changed != found:
            _record(work, found, changed, now=platform.clock(), reason=reason)
        work.commit()
    return changed


def add_suite(work: Work, model: ModelId, suite: SuiteId, *, actor: str, now: datetime) -> None:
    """Let one more locked suite judge the next versions of a locked model, for a job."""
    found = work[Models].get(model)
    if suite not in found.suites:
        work[Models].set_suites(model, [*found.suites, suite])
        _record(work, found, work[Models].get(model), now=now, actor=actor)


def _record(
    work: Work,
    before: Model,
    after: Model,
    *,
    now: datetime,
    reason: str = "",
    actor: str | None = None,
) -> None:
    audit.record(
        work,
        Action.MODEL_CONFIGURED,
        f"models/{before.name}",
        now=now,
        before=_judges(work, before),
        after=_judges(work, after),
        reason=reason,
        actor=actor,
    )


def _judges(work: Work, model: Model) -> dict[str, Any]:
    names = work[Suites].names(model.suites)
    policy = work[Policies].names([model.policy])[model.policy]
    return {"suites": [names[suite] for suite in model.suites], "policy": policy}
