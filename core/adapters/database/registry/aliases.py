"""Aliases and their history."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from core.adapters.database.statements import insert_new
from core.adapters.database.tables.models import alias_moves, aliases
from core.domain.registry.alias import Alias, AliasMove, MoveKind
from core.domain.values import ModelId
from core.errors import AliasNotFound, StaleRevision


class SqlAliases:
    """The `Aliases` port over SQL."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, model: ModelId, name: str) -> Alias:
        """Return the alias. Raises AliasNotFound."""
        alias = self.find(model, name)
        if alias is None:
            raise AliasNotFound(alias=name)
        return alias

    def find(self, model: ModelId, name: str) -> Alias | None:
        """Return the alias, or None if it does not exist."""
        query = select(aliases).where(aliases.c.model == model, aliases.c.name == name)
        row = self._connection.execute(query).first()
        return _to_alias(row) if row is not None else None

    def all(self, *models: ModelId) -> Sequence[Alias]:
        """Return all aliases of these models, or of every model if none is given."""
        query = select(aliases).order_by(aliases.c.model, aliases.c.name)
        if models:
            query = query.where(aliases.c.model.in_(models))
        return [_to_alias(row) for row in self._connection.execute(query)]

    def move(self, alias: Alias, row: AliasMove) -> None:
        """Write the alias and its history row if the stored revision is `alias.revision - 1`.

        Raises StaleRevision otherwise.
        """
        if not (self._create(alias) if alias.revision == 1 else self._advance(alias)):
            raise StaleRevision(expected=alias.revision - 1)
        self._connection.execute(insert(alias_moves).values(vars(row)))

    def history(self, model: ModelId, name: str) -> Sequence[AliasMove]:
        """Return the moves of an alias, oldest first."""
        query = (
            select(alias_moves)
            .where(alias_moves.c.model == model, alias_moves.c.alias == name)
            .order_by(alias_moves.c.revision)
        )
        return [_to_move(row) for row in self._connection.execute(query)]

    def overridden(self, model: ModelId) -> Collection[int]:
        """Return the versions of a model to which an override has moved any alias."""
        query = select(alias_moves.c.to_version).where(
            alias_moves.c.model == model, alias_moves.c.override
        )
        return set(self._connection.scalars(query))

    def _create(self, alias: Alias) -> bool:
        return insert_new(self._connection, aliases, vars(alias))

    def _advance(self, alias: Alias) -> bool:
        moved = self._connection.execute(
            update(aliases)
            .where(
                aliases.c.model == alias.model,
                aliases.c.name == alias.name,
                aliases.c.revision == alias.revision - 1,
            )
            .values(version=alias.version, revision=alias.revision, updated_at=alias.updated_at)
        )
        return moved.rowcount == 1


def _to_alias(row: Row[Any]) -> Alias:
    return Alias(**row._mapping)


def _to_move(row: Row[Any]) -> AliasMove:
    return AliasMove(**{**row._mapping, "kind": MoveKind(row.kind)})
