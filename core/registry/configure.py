"""Choose the suites and the gate policy of a model."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from core.audit import record as audit
from core.audit.rules import Action
from core.database.work import Work
from core.datasets.rules import Suite
from core.datasets.version_rows import Suites
from core.gate.policies import add_policy
from core.gate.rows import Policies
from core.gate.rules import GatePolicy
from core.platform import Platform
from core.registry.rows import Models
from core.registry.versions import Model
from core.values import clean_name


def add_suite(platform: Platform, model: str, suite: Suite) -> None:
    """Add a suite to those that score a model. Raises ModelNotFound."""
    with platform.transactions() as work:
        found = work[Models].get(model)
        if suite.id not in found.suites:
            work[Models].set_suites(found.id, [*found.suites, suite.id])
            _record_configured(work, found, platform.clock())
            work.commit()


def configure_model(
    platform: Platform,
    model: str,
    *,
    suites: Sequence[str] | None,
    policy: str | GatePolicy | None,
    reason: str = "",
) -> Model:
    """Choose the suites and the policy that judge a model's next versions; None keeps them.

    A policy that is given as a value is stored with it. Raises ModelNotFound, SuiteNotFound or
    PolicyNotFound; NameInvalid or NameTaken for a new policy.
    """
    with platform.transactions() as work:
        found = work[Models].get(model)
        if suites is not None:
            chosen = dict.fromkeys(work[Suites].get(name).id for name in suites)
            work[Models].set_suites(found.id, [*chosen])
        if isinstance(policy, GatePolicy):
            clean_name(policy.name)
            add_policy(work, policy)
            work[Models].set_policy(found.id, policy.id)
        elif policy is not None:
            work[Models].set_policy(found.id, work[Policies].get(policy).id)
        changed = work[Models].get(found.id)
        if changed != found:
            _record_configured(work, found, platform.clock(), reason)
        work.commit()
    return changed


def _record_configured(work: Work, before: Model, now: datetime, reason: str = "") -> None:
    audit.record(
        work,
        Action.MODEL_CONFIGURED,
        f"models/{before.name}",
        now=now,
        before=_judges(work, before),
        after=_judges(work, work[Models].get(before.id)),
        reason=reason,
    )


def _judges(work: Work, model: Model) -> dict[str, Any]:
    names = work[Suites].names(model.suites)
    policy = work[Policies].names([model.policy])[model.policy]
    return {"suites": [names[suite] for suite in model.suites], "policy": policy}
