"""Sessions of browsers, each opened by a secret of an API key."""

from dataclasses import dataclass
from datetime import datetime

from core.domain.access.api_key import Secret
from core.domain.values import Digest


@dataclass(frozen=True, kw_only=True)
class Session:
    """A session, by the SHA-256 of its id. It ends no later than the secret that opened it."""

    digest: Digest
    secret: Secret
    expires_at: datetime

    def lets_in(self, now: datetime) -> bool:
        """Return whether the session lets its browser in."""
        return self.expires_at > now and self.secret.is_live(now)
