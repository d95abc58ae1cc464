"""A link that signs a browser in once."""

from collections.abc import Callable
from datetime import datetime, timedelta
from hmac import compare_digest
from secrets import token_urlsafe
from threading import Lock

LASTS = timedelta(hours=1)


class SignInLink:
    """A token that stands once, and for an hour, for a key that this process has been given."""

    def __init__(self, secret: str, clock: Callable[[], datetime]) -> None:
        self.token = token_urlsafe(32)
        self._secret = secret
        self._clock = clock
        self._until = clock() + LASTS
        self._lock = Lock()

    def is_good(self, token: str) -> bool:
        """Return whether a token is that of the link, which was not used and has not expired."""
        known = compare_digest(token.encode(), self.token.encode())
        return known and bool(self._secret) and self._clock() < self._until

    def take(self, token: str) -> str | None:
        """Return the key for the token of a good link, once; else None."""
        with self._lock:
            if not self.is_good(token):
                return None
            secret, self._secret = self._secret, ""
            return secret
