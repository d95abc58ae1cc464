"""Ports for API keys and idempotent requests."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

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
