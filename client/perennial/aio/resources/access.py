"""Keys and audit events."""

from collections.abc import AsyncIterator, Sequence
from typing import Unpack

from perennial import types
from perennial.aio.connection import Resource
from perennial.requests import given, path_of


class Audit(Resource):
    """Audit events, which an admin's key may read: who changed what."""

    def events(self, **filters: Unpack[types.AuditFilters]) -> AsyncIterator[types.AuditEvent]:
        """Yield events, newest first. Times need a time zone."""
        return self._connection.pages(path_of("audit-events"), **filters)

    async def verify(self) -> types.Chain:
        """Return whether an event was removed, edited or forged, and which."""
        return await self._connection.get(path_of("audit-events", "verification"))


class Keys(Resource):
    """API keys, which an admin's key may manage."""

    async def create(
        self,
        name: str,
        role: types.Role,
        *,
        models: Sequence[str] | None = None,
        expires_at: str | None = None,
    ) -> types.Secret:
        """Create a key, for some models or for all; its `secret` is in this reply alone.

        `expires_at` is a time with its zone, such as "2027-12-31T00:00:00Z".
        """
        chosen = None if models is None else list(models)
        body = given(name=name, role=role, models=chosen, expires_at=expires_at)
        return await self._connection.post(path_of("api-keys"), body)

    async def get(self, key: str) -> types.Key:
        """Return a key, by id or name."""
        return await self._connection.get(path_of("api-keys", key))

    def list(self) -> AsyncIterator[types.Key]:
        """Yield all keys, also those that were revoked."""
        return self._connection.pages(path_of("api-keys"))

    async def rotate(self, key: str, *, overlap_hours: float | None = None) -> types.Secret:
        """Give a key a new secret; the old one stays valid for the overlap, with 0 not at all."""
        body = given(overlap_hours=overlap_hours)
        return await self._connection.post(path_of("api-keys", key, "rotate"), body)

    async def revoke(self, key: str) -> None:
        """Revoke a key for ever."""
        await self._connection.delete(path_of("api-keys", key))
