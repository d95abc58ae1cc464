"""Counters of events, updated as they happen so that reads never scan history."""

import json
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select

from core.adapters.database.statements import increase
from core.adapters.database.tables.counters import counters
from core.domain.jobs.counter import JOBS_ENDED, PHASE_SECONDS, CounterValue, duration
from core.domain.jobs.job import Job


class SqlCounters:
    """The `Counters` port over SQL."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, name: str, labels: Mapping[str, str], amount: float = 1.0) -> None:
        """Add to the counter with this name and labels, as part of the transaction."""
        key = {"name": name, "labels": json.dumps(labels, sort_keys=True)}
        increase(self._connection, counters, key, "value", amount)

    def add_phase(self, labels: Mapping[str, str], seconds: float) -> None:
        """Count the duration of a phase."""
        for part, amount in duration(labels, max(0.0, seconds)):
            self.add(PHASE_SECONDS, part, amount)

    def add_ended(self, job: Job) -> None:
        """Count a job that has ended."""
        verdict = (job.result or {}).get("verdict") or ""
        labels = {"type": job.type.value, "status": job.status.value, "verdict": verdict}
        self.add(JOBS_ENDED, labels)

    def all(self) -> Sequence[CounterValue]:
        """Return all counters: a few rows per name."""
        query = select(counters).order_by(counters.c.name, counters.c.labels)
        return [
            CounterValue(name=row.name, labels=json.loads(row.labels), value=row.value)
            for row in self._connection.execute(query)
        ]
