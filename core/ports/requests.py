"""The rows of requests: who may make one, and which were made before."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.domain.values import Digest, JobId


@dataclass(frozen=True, kw_only=True)
class IdempotentReply:
    """What an Idempotency-Key of an actor was used for."""

    actor: str
    key: str
    body: Digest
    job: JobId
    created_at: datetime


class Idempotency(Protocol):
    def find(self, actor: str, key: str) -> IdempotentReply | None: ...

    def add(self, reply: IdempotentReply) -> None:
        """Raises InProgress when another transaction has just used the key."""

    def forget(self, before: datetime) -> int: ...


class Keys(Protocol):
    def add(self, name: str, role: str, digest: Digest, at: datetime) -> None:
        """Let a key in; one that is in already stays as it is."""

    def find(self, digest: Digest) -> tuple[str, str] | None:
        """(name, role) of the key with this SHA-256."""

    def any(self) -> bool: ...

    def forget_others(self, digest: Digest) -> int:
        """Let in no key but the one with this SHA-256 from now on; how many others there were."""
