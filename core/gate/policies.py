"""Create gate policies."""

from contextlib import suppress

from core.audit import record as audit
from core.audit.rules import Action
from core.database.work import Work
from core.errors import NameTaken
from core.gate.rows import Policies
from core.gate.rules import GatePolicy
from core.platform import Platform
from core.values import PolicyId, clean_name

DEFAULT_POLICY = "default"


def create_policy(platform: Platform, policy: GatePolicy) -> GatePolicy:
    """Store a gate policy. Raises NameInvalid or NameTaken."""
    clean_name(policy.name)
    with platform.transactions() as work:
        add_policy(work, policy)
        work.commit()
    return policy


def ensure_default_policy(platform: Platform) -> None:
    """Make sure that there is a policy named 'default'."""
    policy = GatePolicy(
        id=PolicyId("gate_default"), name=DEFAULT_POLICY, created_at=platform.clock()
    )
    with platform.transactions() as work, suppress(NameTaken):
        add_policy(work, policy)
        work.commit()


def add_policy(work: Work, policy: GatePolicy) -> None:
    """Store a new policy, with its audit event."""
    work[Policies].add(policy)
    audit.record(
        work,
        Action.POLICY_CREATED,
        f"gate-policies/{policy.name}",
        now=policy.created_at,
        after={name: value for name, value in vars(policy).items() if name != "created_at"},
        reason=policy.reason,
    )
