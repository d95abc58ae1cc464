"""Roles, each of which may do what the one before it may, and more."""

from enum import StrEnum
from typing import Self


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
