"""Create gate policies."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from core.audit import record as audit
from core.audit.rules import Action
from core.database.work import Work
from core.errors import FieldInvalid, NameTaken
from core.gate.rows import Policies
from core.gate.rules import GatePolicy
from core.platform import Platform
from core.values import PolicyId, clean_class, clean_name

DEFAULT_POLICY = "default"


def create_policy(platform: Platform, policy: GatePolicy) -> GatePolicy:
    """Store a gate policy. Raises NameInvalid, ClassInvalid, FieldInvalid or NameTaken."""
    clean_name(policy.name)
    policy = replace(policy, same_names=_clean_pairs(policy.same_names))
    with platform.transactions() as work:
        add_policy(work, policy)
        work.commit()
    return policy


def _clean_pairs(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return pairs of class names. Raises ClassInvalid, or FieldInvalid for a name with itself."""
    found = []
    for position, pair in enumerate(pairs):
        one, other = map(clean_class, pair)
        if one.lower() == other.lower():
            raise FieldInvalid(
                f"{one!r} and {other!r} are one name already, as case is ignored: give two names.",
                pointer=f"/same_names/{position}",
            )
        found.append((one, other))
    return tuple(found)


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
