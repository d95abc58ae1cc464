"""Principals: holders of API keys, and what they may do."""

from dataclasses import dataclass

from core.errors import Forbidden

ADMIN = "admin"


@dataclass(frozen=True, kw_only=True)
class Principal:
    """The holder of an API key, or an operator at the command line."""

    name: str
    role: str  # ADMIN, or one that a later release has written and that allows nothing here
    models: frozenset[str] | None = None  # the models it may touch, by name; None: all

    def require_admin(self) -> None:
        """Raise Forbidden unless the principal is an administrator."""
        if self.role != ADMIN:
            raise Forbidden
