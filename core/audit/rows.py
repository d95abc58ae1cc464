"""Rows of audit events."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Self

import sqlalchemy as sa

from core.audit.rules import GATE_STEPS, AuditEvent, AuditFilter, AuditHead, Change
from core.database.statements import insert_new
from core.database.tables import audit_events, audit_head
from core.database.work import Rows, Work
from core.values import Digest

_HEAD: sa.Select[Any] = sa.select(audit_head.c.sequence, audit_head.c.hash)
_AFTER_SLASH = chr(ord("/") + 1)
_LAST = sa.select(sa.func.max(audit_events.c.sequence))


class AuditTrail(Rows):
    """Rows of audit events, appended to one chain."""

    @classmethod
    def open(cls, work: Work) -> Self:
        """Return the rows in a transaction, whose commit writes the events."""
        trail = cls(work.connection)
        work.before_commit(trail.flush)
        return trail

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._waiting: list[Change] = []

    def add(self, change: Change) -> None:
        """Keep a change until `flush` writes its event."""
        self._waiting.append(change)

    def flush(self) -> None:
        """Write the events of the changes, as the last thing that a transaction does.

        Every transaction locks the head after all else, and for the time of its commit alone, so
        that two of them cannot wait for each other.
        """
        if not self._waiting:
            return
        head, rows = self._lock_head(), []
        for change in self._waiting:
            event = head.append(change)
            rows.append({**vars(change), "sequence": event.sequence, "hash": event.hash})
            head = AuditHead.of(event)
        self._connection.execute(sa.insert(audit_events), rows)
        self._connection.execute(sa.update(audit_head).values(vars(head)))
        self._waiting.clear()

    def head(self) -> AuditHead:
        """Return the number and the hash of the last event."""
        row = self._connection.execute(_HEAD).first()
        return AuditHead() if row is None else AuditHead(**row._mapping)

    def last(self) -> int:
        """Return the number of the last row, 0 if there is none: the head's, unless forged."""
        return self._connection.scalar(_LAST) or 0

    def page(self, limit: int, after: int | None, wanted: AuditFilter) -> Sequence[AuditEvent]:
        """Return a page of events, newest first; `after` is the last number of the page before.

        A page of some time is ordered by time: then an index finds where the time begins.
        """
        number, at = audit_events.c.sequence, audit_events.c.at
        timed = wanted.since is not None or wanted.until is not None
        order = [at, number] if timed else [number]
        query = sa.select(audit_events).order_by(*(column.desc() for column in order)).limit(limit)
        if after is not None and timed:
            earlier = audit_events.alias("earlier")
            last = sa.select(earlier.c.at).where(earlier.c.sequence == after).scalar_subquery()
            query = query.where(sa.tuple_(at, number) < sa.tuple_(last, after))
        elif after is not None:
            query = query.where(number < after)
        for name in ("actor", "action"):
            if (value := getattr(wanted, name)) is not None:
                query = query.where(audit_events.c[name] == value)
        if wanted.subject is not None:
            query = query.where(self._is_at_or_below(wanted.subject))
        if wanted.since is not None:
            query = query.where(at >= wanted.since)
        if wanted.until is not None:
            query = query.where(at < wanted.until)
        return [_to_event(row) for row in self._connection.execute(query)]

    def gate_steps(
        self, model: str, suites: Collection[str], since: datetime, limit: int
    ) -> Sequence[AuditEvent]:
        """Return the newest `GATE_STEPS` on a model and what is below it, or on some suites."""
        events, subject = audit_events.c, audit_events.c.subject
        about = sa.or_(self._is_at_or_below(f"models/{model}"), subject.in_(suites))
        query = sa.select(audit_events).where(
            about, events.action.in_([one.value for one in GATE_STEPS]), events.at >= since
        )
        rows = self._connection.execute(query.order_by(events.sequence.desc()).limit(limit))
        return [_to_event(row) for row in rows]

    def between(self, after: int, last: int, limit: int) -> Sequence[AuditEvent]:
        """Return at most `limit` events after a number up to another, oldest first."""
        number = audit_events.c.sequence
        query = sa.select(audit_events).where(number > after, number <= last)
        rows = self._connection.execute(query.order_by(number).limit(limit))
        return [_to_event(row) for row in rows]

    def _is_at_or_below(self, path: str) -> sa.ColumnElement[bool]:
        """Return whether an event's subject is a path or begins with it and a slash.

        Compared byte by byte, so that an index finds both.
        """
        subject = audit_events.c.subject
        on_postgresql = self._connection.dialect.name == "postgresql"
        not_before, before = ("~>=~", "~<~") if on_postgresql else (">=", "<")
        begins = subject.bool_op(not_before)(f"{path}/")
        ends = subject.bool_op(before)(path + _AFTER_SLASH)
        return sa.or_(subject == path, sa.and_(begins, ends))

    def _lock_head(self) -> AuditHead:
        row = self._connection.execute(_HEAD.with_for_update()).first()
        if row is None:
            insert_new(self._connection, audit_head, {"id": 1, **vars(AuditHead())})
            row = self._connection.execute(_HEAD.with_for_update()).one()
        return AuditHead(**row._mapping)


def _to_event(row: sa.Row[Any]) -> AuditEvent:
    fields = dict(row._mapping)
    sequence: int = fields.pop("sequence")
    digest: Digest = fields.pop("hash")
    return AuditEvent(sequence=sequence, change=Change(**fields), hash=digest)
