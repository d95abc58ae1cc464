"""Rows of indexes and of what they have for each version."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from core.database.statements import upsert
from core.database.tables import index_versions, indexes
from core.database.work import Rows
from core.errors import IndexNotFound, IndexVersionNotFound, NameTaken
from core.indexes.rules import IndexMethod, IndexState, IndexStore, IndexVersion, VectorIndex
from core.values import IndexId, ModelId

_BY_NAME = select(indexes).order_by(indexes.c.name)
_BY_VERSION = select(index_versions).order_by(index_versions.c.version)


class Indexes(Rows):
    """Rows of indexes, and of their versions."""

    def add(self, index: VectorIndex) -> None:
        """Add an index. Raises NameTaken if its model has one of that name."""
        taken = (indexes.c.model == index.model) & (indexes.c.name == index.name)
        if self._connection.scalar(select(indexes.c.id).where(taken)) is not None:
            raise NameTaken(name=index.name)
        self._connection.execute(insert(indexes).values(vars(index)))

    def get(self, model: ModelId, name: str) -> VectorIndex:
        """Return an index of a model. Raises IndexNotFound."""
        query = _BY_NAME.where(indexes.c.model == model, indexes.c.name == name)
        if (row := self._connection.execute(query).first()) is None:
            raise IndexNotFound(index=name)
        return _to_index(row)

    def all(self, model: ModelId) -> Sequence[VectorIndex]:
        """Return the indexes of a model, by name."""
        query = _BY_NAME.where(indexes.c.model == model)
        return [_to_index(row) for row in self._connection.execute(query)]

    def following(self, model: ModelId, alias: str) -> Sequence[VectorIndex]:
        """Return the indexes that follow an alias, by name."""
        query = _BY_NAME.where(indexes.c.model == model, indexes.c.alias == alias)
        return [_to_index(row) for row in self._connection.execute(query)]

    def remove(self, index: IndexId) -> None:
        """Delete an index and what it has for each version."""
        self._connection.execute(delete(index_versions).where(index_versions.c.index == index))
        self._connection.execute(delete(indexes).where(indexes.c.id == index))

    def versions(self, index: IndexId) -> Sequence[IndexVersion]:
        """Return what an index has, by version."""
        query = _BY_VERSION.where(index_versions.c.index == index)
        return [_to_version(row) for row in self._connection.execute(query)]

    def version(self, index: IndexId, version: int) -> IndexVersion:
        """Return what an index has for a version. Raises IndexVersionNotFound."""
        found = next((one for one in self.versions(index) if one.version == version), None)
        if found is None:
            raise IndexVersionNotFound(version=version)
        return found

    def want(self, wanted: IndexVersion) -> None:
        """Record that a version is wanted, whatever an index has for it."""
        upsert(self._connection, index_versions, vars(wanted), {"wanted": wanted.wanted})

    def put(self, one: IndexVersion) -> None:
        """Write what an index has for a version, in the place of what it had."""
        upsert(self._connection, index_versions, vars(one))

    def clear(self, index: IndexId, version: int) -> None:
        """Delete what an index has for a version."""
        rows = index_versions.c
        gone = delete(index_versions).where(rows.index == index, rows.version == version)
        self._connection.execute(gone)

    def that_read(self, model: ModelId, version: int) -> Sequence[str]:
        """Return the names of the indexes whose searchers or fillers need a version's weights."""
        return [index.name for index, one in self._pairs(model) if version in one.reads]

    def read_by_searchers(self, model: ModelId) -> set[int]:
        """Return the versions whose weights searchers and fillers of a model's indexes need."""
        return {number for _, one in self._pairs(model) for number in one.reads}

    def _pairs(self, model: ModelId) -> Sequence[tuple[VectorIndex, IndexVersion]]:
        return [(index, one) for index in self.all(model) for one in self.versions(index.id)]


def delete_indexes_of(connection: Connection, model: ModelId) -> None:
    """Delete the indexes of a model."""
    theirs = select(indexes.c.id).where(indexes.c.model == model)
    connection.execute(delete(index_versions).where(index_versions.c.index.in_(theirs)))
    connection.execute(delete(indexes).where(indexes.c.model == model))


def _to_index(row: Row[Any]) -> VectorIndex:
    return VectorIndex(**{**row._mapping, "store": IndexStore(row.store)})


def _to_version(row: Row[Any]) -> IndexVersion:
    method = None if row.method is None else IndexMethod(row.method)
    return IndexVersion(**{**row._mapping, "state": IndexState(row.state), "method": method})
