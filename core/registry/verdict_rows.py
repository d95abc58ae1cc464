"""Rows of verdicts."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, or_, select

from core.database.statements import insert_missing, rows_with, upsert
from core.database.tables import tries, verdicts, versions
from core.database.work import Rows
from core.gate.rules import Verdict
from core.registry.verdicts import ORDER, Try, VersionVerdict
from core.registry.versions import Version
from core.values import Digest, ModelId, SuiteId

LISTS = ("suites", "holdouts", "updates", "settled", "labels")  # columns of JSON


class Verdicts(Rows):
    """Rows of the verdicts on versions, one for all that each of them covers."""

    def add(self, verdict: VersionVerdict) -> None:
        """Store a verdict, unless one that covers the same is on more images, or as many and worse.

        On the same images only a comparison with another version further back, such as one that
        has been live since, could make it better. A failure is stored on however few images: an
        erasure leaves fewer, and takes none back.
        """
        values = {
            **vars(verdict),
            **{name: list(getattr(verdict, name)) for name in LISTS},
            "asked_digest": verdict.asked_digest,
        }
        no_worse = verdicts.c.verdict.in_(ORDER[: ORDER.index(verdict.verdict) + 1])
        weaker = (verdicts.c.images == verdict.images) & no_worse
        where = (verdicts.c.images < verdict.images) | weaker
        if verdict.verdict is Verdict.FAILED:
            where |= no_worse
        upsert(self._connection, verdicts, values, where=where)

    def on(self, model: ModelId, version: int) -> Sequence[VersionVerdict]:
        """Return the verdicts on a version, oldest first."""
        return self.on_each(model, [version]).get(version, [])

    def counting(self, version: Version) -> Sequence[VersionVerdict]:
        """Return the verdicts on a version, and failures of others with its weights, oldest first.

        The same update once more gives the same weights, and a conversion and its reverse do.
        """
        own = verdicts.c.version == version.number
        same = (versions.c.digest == version.digest) & (verdicts.c.verdict == Verdict.FAILED)
        query = (
            select(verdicts)
            .join(
                versions,
                (versions.c.model == verdicts.c.model) & (versions.c.number == verdicts.c.version),
            )
            .where(verdicts.c.model == version.model, own | same)
            .order_by(verdicts.c.at, verdicts.c.version, verdicts.c.beside)
        )
        return [*map(_to_verdict, self._connection.execute(query))]

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
    asked = {name: tuple(values[name]) for name in LISTS}
    return VersionVerdict(**values | asked | {"verdict": Verdict(row.verdict)})


class Tries(Rows):
    """Rows of the weights that suites have judged, by the digests of what they were made of.

    They are versions, and what a blame has trained without some of a version's images.
    """

    def add(
        self,
        line: Sequence[Version],
        made: Collection[Digest],
        suites: Collection[SuiteId],
        at: datetime,
    ) -> None:
        """Store that suites judged what was made of the last version of a line.

        The first time counts.
        """
        parent = line[-1]
        same = {"model": parent.model, "parent": parent.digest, "root": line[0].digest, "at": at}
        rows = [
            {**same, "version": digest, "suite": suite}
            for digest in sorted(made)
            for suite in sorted(suites)
        ]
        insert_missing(self._connection, tries, rows)

    def beside(self, model: ModelId) -> Sequence[Try]:
        """Return the tries on what a model's versions were made of that are none, oldest first.

        They are of other models, or of the model's blames.

        The root of one of the two is a version of the other, mostly its root. Versions that the
        model has too are left out, because their answers are the same.
        """
        theirs = select(versions.c.digest).where(versions.c.model == model)
        root = theirs.where(versions.c.parent.is_(None))
        above = select(tries.c.root).where(
            or_(tries.c.version.in_(root), tries.c.parent.in_(root)), tries.c.model != model
        )
        query = select(tries).where(
            or_(tries.c.root.in_(theirs), tries.c.root.in_(above)),
            tries.c.version.not_in(theirs),
        )
        return self._found(query)

    def of(self, version: Digest, *, but: ModelId) -> Sequence[Try]:
        """Return the tries of a version's weights in other models than one, oldest first."""
        return self._found(select(tries).where(tries.c.version == version, tries.c.model != but))

    def _found(self, query: Select[Any]) -> Sequence[Try]:
        rows = self._connection.execute(query.order_by(tries.c.at, tries.c.version, tries.c.suite))
        return [
            Try(version=row.version, parent=row.parent, suite=row.suite, at=row.at) for row in rows
        ]
