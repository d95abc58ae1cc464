"""Aliases and their moves."""

from typing import Literal, TypedDict

MoveKind = Literal["created", "promoted", "rolled_back", "deleted"]


class Alias(TypedDict):
    """An alias and the version that it points at."""

    model: str
    alias: str
    version: int
    digest: str
    revision: int  # increases with every move
    updated_at: str


class Move(TypedDict):
    """A move of an alias."""

    revision: int
    kind: MoveKind
    from_version: int | None
    to_version: int  # 0: the alias was deleted
    reason: str
    actor: str
    at: str
    override: bool
