"""Rows of the jobs that Idempotency-Keys were used for."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select

from core.database.statements import insert_new
from core.database.tables import idempotency
from core.database.work import Rows
from core.errors import InProgress
from core.values import Digest, JobId


@dataclass(frozen=True, kw_only=True)
class IdempotentReply:
    """The request that an actor's Idempotency-Key was used for, and its job."""

    actor: str
    key: str
    body: Digest
    job: JobId
    created_at: datetime


class Idempotency(Rows):
    """Rows of the jobs that Idempotency-Keys were used for."""

    def find(self, actor: str, key: str) -> IdempotentReply | None:
        """Return what the actor used the key for, or None."""
        query = select(idempotency).where(idempotency.c.actor == actor, idempotency.c.key == key)
        row = self._connection.execute(query).first()
        return IdempotentReply(**row._mapping) if row is not None else None

    def add(self, reply: IdempotentReply) -> None:
        """Record the use of a key. Raises InProgress when another transaction has just used it."""
        if not insert_new(self._connection, idempotency, vars(reply)):
            raise InProgress

    def forget(self, before: datetime) -> int:
        """Delete keys used before a time; return how many."""
        old = delete(idempotency).where(idempotency.c.created_at < before)
        return self._connection.execute(old).rowcount
