"""Ports for API keys, audit events and idempotent requests."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.domain.access.api_key import ApiKey, Secret
from core.domain.access.audit import AuditEvent, AuditHead, Change
from core.domain.access.session import Session
from core.domain.values import Digest, JobId, Json, KeyId


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
    def add(self, key: ApiKey, secret: Digest) -> None:
        """Add a key with the SHA-256 of its first secret. Raises NameTaken."""

    def get(self, reference: str) -> ApiKey:
        """Return a key by id or name. Raises KeyNotFound."""

    def find(self, digest: Digest) -> Secret | None:
        """Return the secret with this SHA-256, with its key."""

    def find_all(self, digests: Collection[Digest]) -> Mapping[Digest, Secret]:
        """Return those of these secrets that are stored, with their keys, by their SHA-256."""

    def any(self) -> bool: ...

    def lock_all(self) -> Sequence[ApiKey]:
        """Return all keys, oldest first, and keep others from changing them until commit."""

    def page(self, limit: int, after: str | None) -> Sequence[ApiKey]:
        """Return a page of keys, oldest first; `after` is the last id of the page before."""

    def revoke(self, key: KeyId, at: datetime) -> None: ...

    def rotate(
        self, key: KeyId, secret: Digest, prefix: str, *, at: datetime, until: datetime
    ) -> None:
        """Give a key a new secret; its other ones are valid until a time, or less."""

    def end_secrets(self, key: KeyId, until: datetime, *, but: Digest | None = None) -> int:
        """Limit the secrets of a key, but one, to a time; return how many were valid longer."""

    def note_uses(self, uses: Mapping[KeyId, datetime]) -> None:
        """Note when keys were used last, unless later uses are noted already."""

    def last_uses(self, keys: Collection[KeyId]) -> Mapping[KeyId, datetime]:
        """Return when some keys were used last; those of which no use is known are left out."""


class Sessions(Protocol):
    """Sessions of browsers, by the SHA-256 of their ids."""

    def add(self, session: Session) -> None: ...

    def find_all(self, digests: Collection[Digest]) -> Mapping[Digest, Session]:
        """Return those of these sessions that are stored, with the secrets that opened them."""

    def remove(self, digest: Digest) -> bool:
        """Remove a session; return whether there was one."""

    def forget(self, before: datetime) -> int:
        """Remove the sessions that expired before a time; return how many."""


class TokenVerifier(Protocol):
    """The check of the bearer tokens that an issuer gives."""

    def verify(self, token: str) -> Json:
        """Return the claims of a valid token. Raises Unauthorised or IssuerUnavailable."""


@dataclass(frozen=True, kw_only=True)
class AuditFilter:
    """The conditions on the audit events to list; None: no condition."""

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

    def last(self) -> int:
        """Return the number of the last row, 0 if there is none: the head's, unless forged."""

    def page(self, limit: int, after: int | None, wanted: AuditFilter) -> Sequence[AuditEvent]:
        """Return a page of events, newest first; `after` is the last number of the page before."""

    def between(self, after: int, last: int, limit: int) -> Sequence[AuditEvent]:
        """Return at most `limit` events after a number up to another, oldest first."""
