"""Rows of aliases and of their moves."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Row, and_, bindparam, delete, func, insert, select, update

from core.database.statements import insert_new
from core.database.tables import alias_moves, aliases, versions
from core.database.work import Rows
from core.errors import AliasNotFound, StaleRevision
from core.gate.rules import Verdict
from core.registry.aliases import Alias, AliasMove, MoveKind
from core.values import ModelId, PolicyId

# Built once: building a statement takes longer than running it.
_ALL = select(aliases).order_by(aliases.c.model, aliases.c.name)
_OF_MODELS = _ALL.where(aliases.c.model.in_(bindparam("models", expanding=True)))
_MARKED = _OF_MODELS.join(
    versions,
    and_(versions.c.model == aliases.c.model, versions.c.number == aliases.c.version),
).where(versions.c.erasure.is_not(None))

_ONE = select(aliases).where(
    aliases.c.model == bindparam("model_id"), aliases.c.name == bindparam("alias")
)

_OF_ALIAS = select(alias_moves).where(
    alias_moves.c.model == bindparam("model"), alias_moves.c.alias == bindparam("alias")
)
_MOVES = _OF_ALIAS.where(alias_moves.c.revision > bindparam("after")).order_by(
    alias_moves.c.revision
)
_NEWEST_MOVES = _OF_ALIAS.order_by(alias_moves.c.revision.desc()).limit(bindparam("limit"))

_LAST_MOVES = (
    select(alias_moves)
    .join(
        aliases,
        and_(
            alias_moves.c.model == aliases.c.model,
            alias_moves.c.alias == aliases.c.name,
            alias_moves.c.revision == aliases.c.revision,
        ),
    )
    .where(aliases.c.model.in_(bindparam("models", expanding=True)))
    .order_by(aliases.c.model, aliases.c.name)
)


class Aliases(Rows):
    """Rows of aliases, and of the history of their moves."""

    def get(self, model: ModelId, name: str, *, keep: bool = False) -> Alias:
        """Return an alias; `keep` keeps others from deleting it before commit.

        Raises AliasNotFound.
        """
        alias = self.find(model, name, keep=keep)
        if alias is None:
            raise AliasNotFound(alias=name)
        return alias

    def find(self, model: ModelId, name: str, *, keep: bool = False) -> Alias | None:
        """Return the alias, or None if it does not exist; `keep` keeps others from deleting it."""
        # Moves do not wait for this lock; SQLite's write transactions take turns anyway.
        query = _ONE.with_for_update(read=True, key_share=True) if keep else _ONE
        row = self._connection.execute(query, {"model_id": model, "alias": name}).first()
        return _to_alias(row) if row is not None else None

    def all(self, *models: ModelId) -> Sequence[Alias]:
        """Return all aliases of these models, or of every model if none is given."""
        query = _OF_MODELS if models else _ALL
        return [_to_alias(row) for row in self._connection.execute(query, {"models": list(models)})]

    def marked(self, *models: ModelId) -> Sequence[Alias]:
        """Return the aliases of these models that point at marked versions."""
        rows = self._connection.execute(_MARKED, {"models": list(models)})
        return [_to_alias(row) for row in rows]

    def move(self, alias: Alias, row: AliasMove) -> None:
        """Write the alias and its history row if the stored revision is `alias.revision - 1`.

        Raises StaleRevision otherwise.
        """
        if row.kind is MoveKind.CREATED:
            moved = insert_new(self._connection, aliases, vars(alias))
        else:
            moved = self._advance(alias)
        if not moved:
            raise StaleRevision(expected=alias.revision - 1)
        self._connection.execute(insert(alias_moves).values(vars(row)))

    def lock(self, model: ModelId, name: str) -> Alias:
        """Return the alias and keep others from reading it to keep. Raises AliasNotFound."""
        query = _ONE.with_for_update()
        row = self._connection.execute(query, {"model_id": model, "alias": name}).first()
        if row is None:
            raise AliasNotFound(alias=name)
        return _to_alias(row)

    def remove(self, row: AliasMove) -> None:
        """Delete a locked alias and write the last row of its history, which stays."""
        gone = delete(aliases).where(aliases.c.model == row.model, aliases.c.name == row.alias)
        self._connection.execute(gone)
        self._connection.execute(insert(alias_moves).values(vars(row)))

    def last_revision(self, model: ModelId, name: str) -> int:
        """Return the revision of the last move of an alias, deleted or not; 0 if it never was."""
        query = _OF_ALIAS.with_only_columns(func.max(alias_moves.c.revision))
        return self._connection.scalar(query, {"model": model, "alias": name}) or 0

    def history(self, model: ModelId, name: str, *, after: int = 0) -> Sequence[AliasMove]:
        """Return the moves of an alias after a revision, oldest first."""
        rows = self._connection.execute(_MOVES, {"model": model, "alias": name, "after": after})
        return [_to_move(row) for row in rows]

    def newest_moves(self, model: ModelId, name: str, limit: int) -> Sequence[AliasMove]:
        """Return the newest moves of an alias, oldest first."""
        given = {"model": model, "alias": name, "limit": limit}
        return [_to_move(row) for row in self._connection.execute(_NEWEST_MOVES, given)][::-1]

    def kinds_of_moves(self, model: ModelId, name: str, version: int) -> Collection[MoveKind]:
        """Return in which ways an alias was promoted to a version and rolled back from it."""
        moved, kind = alias_moves.c, alias_moves.c.kind
        query = _OF_ALIAS.with_only_columns(kind).distinct()
        query = query.where(
            ((kind == MoveKind.PROMOTED.value) & (moved.to_version == version))
            | ((kind == MoveKind.ROLLED_BACK.value) & (moved.from_version == version))
        )
        return set(map(MoveKind, self._connection.scalars(query, {"model": model, "alias": name})))

    def has_moved_to(self, model: ModelId, version: int) -> bool:
        """Return whether any alias has ever moved to a version."""
        query = select(alias_moves.c.revision).where(
            alias_moves.c.model == model, alias_moves.c.to_version == version
        )
        return self._connection.scalar(query.limit(1)) is not None

    def last_moves(self, *models: ModelId) -> Sequence[AliasMove]:
        """Return the move that each alias of some models is at, by model and name."""
        rows = self._connection.execute(_LAST_MOVES, {"models": list(models)})
        return [_to_move(row) for row in rows]

    def overridden(self, model: ModelId) -> Collection[int]:
        """Return the versions of a model to which an override has moved any alias."""
        query = select(alias_moves.c.to_version).where(
            alias_moves.c.model == model, alias_moves.c.override
        )
        return set(self._connection.scalars(query))

    def passed(self, model: ModelId) -> Collection[tuple[int, PolicyId]]:
        """Return the versions that a passing verdict has let go live as any alias, and its policy.

        A version is there once for each policy.
        """
        query = select(alias_moves.c.to_version, alias_moves.c.policy).where(
            alias_moves.c.model == model,
            alias_moves.c.verdict == Verdict.PASSED.value,
            alias_moves.c.override.is_(False),
        )
        return {(row.to_version, row.policy) for row in self._connection.execute(query)}

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
    decided = None if row.verdict is None else Verdict(row.verdict)
    return AliasMove(**{**row._mapping, "kind": MoveKind(row.kind), "verdict": decided})
