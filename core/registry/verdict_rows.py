"""Rows of verdicts."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Row, select

from core.database.statements import rows_with, upsert
from core.database.tables import verdicts
from core.database.work import Rows
from core.gate.rules import Verdict
from core.registry.verdicts import ORDER, VersionVerdict
from core.values import ModelId, SuiteId


class Verdicts(Rows):
    """Rows of the verdicts on versions, one for all that each of them covers."""

    def add(self, verdict: VersionVerdict) -> None:
        """Store a verdict, unless one that covers the same is on more images, or as many and worse.

        On the same images only a comparison with another version further back, such as one that
        has been live since, could make it better.
        """
        values = {
            **vars(verdict),
            "suites": list(verdict.suites),
            "holdouts": list(verdict.holdouts),
            "updates": list(verdict.updates),
            "asked_digest": verdict.asked_digest,
        }
        no_worse = verdicts.c.verdict.in_(ORDER[: ORDER.index(verdict.verdict) + 1])
        weaker = (verdicts.c.images == verdict.images) & no_worse
        where = (verdicts.c.images < verdict.images) | weaker
        upsert(self._connection, verdicts, values, where=where)

    def on(self, model: ModelId, version: int) -> Sequence[VersionVerdict]:
        """Return the verdicts on a version, oldest first."""
        return self.on_each(model, [version]).get(version, [])

    def on_each(
        self, model: ModelId, versions: Collection[int]
    ) -> Mapping[int, Sequence[VersionVerdict]]:
        """Return the verdicts on some versions, oldest first; those without any are left out."""
        query = (
            select(verdicts)
            .where(verdicts.c.model == model)
            .order_by(verdicts.c.at, verdicts.c.beside)
        )
        found: dict[int, list[VersionVerdict]] = defaultdict(list)
        for row in rows_with(self._connection, query, verdicts.c.version, versions):
            found[row.version].append(_to_verdict(row))
        return found

    def suites(self, model: ModelId) -> Mapping[int, frozenset[SuiteId]]:
        """Return the suites that have judged each version of a model, also deleted ones."""
        query = select(verdicts.c.version, verdicts.c.suites).where(verdicts.c.model == model)
        found: dict[int, frozenset[SuiteId]] = {}
        for row in self._connection.execute(query):
            found[row.version] = found.get(row.version, frozenset()) | set(row.suites)
        return found


def _to_verdict(row: Row[Any]) -> VersionVerdict:
    values = {name: value for name, value in row._mapping.items() if name != "asked_digest"}
    asked = {name: tuple(values[name]) for name in ("suites", "holdouts", "updates")}
    return VersionVerdict(**values | asked | {"verdict": Verdict(row.verdict)})
