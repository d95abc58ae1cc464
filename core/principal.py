"""Keys and people that act, and their roles: what each may do."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from core.errors import Forbidden
from core.values import KeyId, ModelId


class Role(StrEnum):
    """The role of a key, from the one that allows the least to the one that allows the most."""

    VIEWER = "viewer"  # read, and classify
    CONTRIBUTOR = "contributor"  # send images, order updates
    OPERATOR = "operator"  # create models, move aliases
    ADMIN = "admin"  # policies, keys, deletions

    @classmethod
    def known(cls, stored: str) -> Self | None:
        """Return the role of this name, None for one that a later release has written."""
        return cls(stored) if stored in set(cls) else None

    def includes(self, needed: "Role") -> bool:
        """Return whether this role may do what the needed one may."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(needed)


@dataclass(frozen=True, kw_only=True)
class Principal:
    """The holder of a key or a token, or a process or person with access to the database itself."""

    name: str
    role: Role | None  # None allows nothing: a token's claims give none, or a later release's role
    models: frozenset[ModelId] | None = None  # the models it may touch; None: all
    key: KeyId | None = None
    request_id: str | None = None
    trace: str | None = None  # the request's span, as a traceparent

    @property
    def id(self) -> str:
        """The id of its key, or its name if it has none: what is counted is counted by it."""
        return self.key or self.name

    def may(self, role: Role) -> bool:
        """Return whether the principal's role includes this one."""
        return self.role is not None and self.role.includes(role)

    def require(self, role: Role) -> None:
        """Raise Forbidden unless the principal's role includes this one."""
        if not self.may(role):
            held = f"you have the role {self.role}" if self.role else "you have none"
            raise Forbidden(
                f"This takes at least the role {role}; {held}.",
                required_role=role.value,
                role=self.role and self.role.value,
            )

    def require_every_model(self) -> None:
        """Raise Forbidden if the principal may touch some models only."""
        if self.models is not None:
            raise Forbidden("This concerns every model, and you may touch some of them only.")


# For whatever has no key: the service's own processes, and the command line.
SERVICE = Principal(name="service", role=Role.ADMIN)
COMMAND_LINE = Principal(name="command line", role=Role.ADMIN)
