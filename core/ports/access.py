"""Ports for API keys, audit events and idempotent requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.domain.access.audit import AuditEvent, AuditHead, Change
from core.domain.values import Digest, JobId


@dataclass(frozen=True, kw_only=True)
class IdempotentReply:
    """The request that an actor's Idempotency-Key was used for, and its job."""

    actor: str
    key: str
    body: Digest
    job: JobId
    created_at: datetime


class Idempotency(Protocol):
    def find(self, actor: str, key: str) -> IdempotentReply | None: ...

    def add(self, reply: IdempotentReply) -> None:
        """Add a reply. Raises InProgress when another transaction has just used the key."""

    def forget(self, before: datetime) -> int: ...


class Keys(Protocol):
    def add(self, name: str, role: str, digest: Digest, at: datetime) -> None:
        """Add a key; one that exists already stays unchanged."""

    def find(self, digest: Digest) -> tuple[str, str] | None:
        """Return (name, role) of the key with this SHA-256."""

    def any(self) -> bool: ...

    def forget_others(self, digest: Digest) -> int:
        """Remove all keys but the one with this SHA-256; return how many."""


@dataclass(frozen=True, kw_only=True)
class AuditFilter:
    """Which audit events to list; None: all."""

    actor: str | None = None
    action: str | None = None
    subject: str | None = None  # it, and what is below it
    since: datetime | None = None
    until: datetime | None = None  # exclusive


class AuditTrail(Protocol):
    """The audit events: appended, read, and nothing else."""

    def add(self, change: Change) -> None:
        """Append the event of a change when the transaction commits."""

    def head(self) -> AuditHead:
        """Return the number and the hash of the last event."""

    def page(self, limit: int, after: int | None, wanted: AuditFilter) -> Sequence[AuditEvent]:
        """Return a page of events, newest first; `after` is the last number of the page before."""

    def between(self, after: int, last: int, limit: int) -> Sequence[AuditEvent]:
        """Return at most `limit` events after a number up to another, oldest first."""
