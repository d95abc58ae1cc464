"""Create gate policies."""

from contextlib import suppress
from dataclasses import replace

from core.audit import record as audit
from core.audit.rules import Action, given_reason
from core.database.work import Work
from core.errors import FieldInvalid, NameTaken
from core.gate.rows import Policies
from core.gate.rules import GatePolicy
from core.platform import Platform
from core.values import PolicyId, clean_class, clean_name

DEFAULT_POLICY = "default"


def create_policy(platform: Platform, policy: GatePolicy) -> GatePolicy:
    """Store a gate policy with a reason. Raises what `clean_policy` raises, or NameTaken."""
    policy = replace(clean_policy(policy), reason=given_reason(policy.reason, "A new policy"))
    with platform.transactions() as work:
        add_policy(work, policy)
        work.commit()
    return policy


def clean_policy(policy: GatePolicy) -> GatePolicy:
    """Return a policy with clean pairs of names.

    Raises NameInvalid, ClassInvalid, or FieldInvalid for a pair of one name.
    """
    clean_name(policy.name)
    found = []
    for position, pair in enumerate(policy.same_names):
        one, other = map(clean_class, pair)
        if one.lower() == other.lower():
            raise FieldInvalid(
                f"{one!r} and {other!r} are one name already, as case is ignored: give two names.",
                pointer=f"/same_names/{position}",
            )
        found.append((one, other))
    return replace(policy, same_names=tuple(found))


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
