"""API keys: what each allows, and until when."""

from dataclasses import dataclass
from datetime import datetime
from hmac import compare_digest

from core.domain.access.roles import Role
from core.domain.values import Digest, KeyId, ModelId
from core.errors import KeyNotLive


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key, without its secrets: rotation gives it a new one, and the old may stay for a while."""

    id: KeyId
    name: str
    role: Role | None  # None: one that a later release has written, which allows nothing here
    models: tuple[ModelId, ...] | None = None  # None: all, also later ones
    prefix: str | None = None  # of its newest secret; None: not known, since the service made none
    created_at: datetime
    expires_at: datetime | None = None
    rotated_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_live(self, now: datetime) -> bool:
        """Return whether the key lets its holder in."""
        expired = self.expires_at is not None and self.expires_at <= now
        return self.revoked_at is None and not expired

    def require_live(self, now: datetime) -> None:
        """Raise KeyNotLive for a key that was revoked or has expired."""
        if not self.is_live(now):
            raise KeyNotLive(key=self.id)


@dataclass(frozen=True, kw_only=True)
class Secret:
    """A secret of a key, as its SHA-256."""

    key: ApiKey
    digest: Digest
    valid_until: datetime | None  # None: until it is rotated

    def lets_in(self, digest: Digest, now: datetime) -> bool:
        """Return whether the holder of the secret with this SHA-256 is let in."""
        return compare_digest(self.digest, digest) and self.is_live(now)

    def is_live(self, now: datetime) -> bool:
        """Return whether the secret lets anyone in."""
        ended = self.valid_until is not None and self.valid_until <= now
        return not ended and self.key.is_live(now)
