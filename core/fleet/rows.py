"""Rows of workers' heartbeats."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select

from core.database.engine import epoch_now
from core.database.statements import upsert
from core.database.tables import heartbeats
from core.database.work import Rows
from core.values import Json


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """The last heartbeat of a worker."""

    worker: str
    facts: Json
    age_s: float  # by the database's clock


class Heartbeats(Rows):
    """Rows of heartbeats, timed by the database's clock."""

    def record(self, worker: str, facts: Json) -> None:
        """Record a worker's heartbeat at the database's present time."""
        upsert(self._connection, heartbeats, {"worker": worker, "facts": facts, "at": epoch_now()})

    def fresh(self, within_s: float) -> Sequence[tuple[str, Json]]:
        """Return the workers with a heartbeat in the last `within_s` seconds, by name."""
        query = (
            select(heartbeats.c.worker, heartbeats.c.facts)
            .where(heartbeats.c.at > epoch_now() - within_s)
            .order_by(heartbeats.c.worker)
        )
        return [(row.worker, row.facts) for row in self._connection.execute(query)]

    def all(self) -> Sequence[Heartbeat]:
        """Return the last heartbeat of every worker that has not shut down in order, by name."""
        age = (epoch_now() - heartbeats.c.at).label("age_s")
        query = select(heartbeats.c.worker, heartbeats.c.facts, age).order_by(heartbeats.c.worker)
        return [
            Heartbeat(worker=row.worker, facts=row.facts, age_s=row.age_s)
            for row in self._connection.execute(query)
        ]

    def forget(self, worker: str) -> None:
        """Delete the heartbeat of a worker that has shut down in order."""
        self._connection.execute(delete(heartbeats).where(heartbeats.c.worker == worker))

    def forget_silent(self, older_than_s: float) -> int:
        """Delete heartbeats older than `older_than_s` seconds; return how many."""
        silent = delete(heartbeats).where(heartbeats.c.at < epoch_now() - older_than_s)
        return self._connection.execute(silent).rowcount
