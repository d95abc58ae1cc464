"""Rows of what the worker has found about engines."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from core.artifacts.store import ArtifactKind
from core.database.statements import upsert
from core.database.tables import engine_checks, versions
from core.database.work import Rows
from core.engines.rules import Comparison, Engine, EngineCheck
from core.registry.versions import ServingPrecision
from core.values import Digest


class EngineChecks(Rows):
    """Checks of versions, by the digest of their weights."""

    def find(self, weights: Digest) -> EngineCheck | None:
        """Return the check of a version, if there is one."""
        query = select(engine_checks).where(engine_checks.c.weights == weights)
        row = self._connection.execute(query).first()
        return None if row is None else _to_check(row)

    def like(self, architecture: Digest) -> EngineCheck | None:
        """Return the newest check of an architecture that names graphs, if there is one."""
        found = engine_checks.c.graphs.is_not(None)
        query = select(engine_checks).where(engine_checks.c.architecture == architecture, found)
        newest = query.order_by(engine_checks.c.checked_at.desc()).limit(1)
        row = self._connection.execute(newest).first()
        return None if row is None else _to_check(row)

    def put(self, check: EngineCheck) -> None:
        """Store a check in the place of an earlier one of the same weights, if there is one."""
        engines = {engine.value: vars(found) for engine, found in check.engines.items()}
        upsert(self._connection, engine_checks, vars(check) | {"engines": engines})

    def forget(self, before: datetime) -> None:
        """Delete the checks made before a time of weights that no version has."""
        kept = select(versions.c.digest).where(versions.c.collected_at.is_(None))
        stale = engine_checks.c.checked_at < before
        self._connection.execute(
            delete(engine_checks).where(stale, engine_checks.c.weights.not_in(kept))
        )


def artifacts_of_engines(connection: Connection, kind: ArtifactKind) -> set[Digest]:
    """Return the artifacts of a kind that checks name."""
    if kind is not ArtifactKind.GRAPHS:
        return set()
    query = select(engine_checks.c.graphs).where(engine_checks.c.graphs.is_not(None))
    return set(connection.scalars(query))


def _to_check(row: Row[Any]) -> EngineCheck:
    stored = dict(row._mapping)
    precision = ServingPrecision(stored.pop("precision"))
    engines = {Engine(name): Comparison(**found) for name, found in stored.pop("engines").items()}
    return EngineCheck(precision=precision, engines=engines, **stored)
