"""API keys, by their SHA-256."""

from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, select

from core.adapters.database.statements import insert_new
from core.adapters.database.tables.access import keys
from core.domain.values import Digest

_FIND = select(keys.c.name, keys.c.role).where(keys.c.digest == bindparam("digest"))


class SqlKeys:
    """The `Keys` port over SQL."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, name: str, role: str, digest: Digest, at: datetime) -> None:
        """Store a key, unless it is stored already."""
        values = {"digest": digest, "name": name, "role": role, "created_at": at}
        insert_new(self._connection, keys, values)

    def find(self, digest: Digest) -> tuple[str, str] | None:
        """Return (name, role) of the key with this SHA-256, or None."""
        row = self._connection.execute(_FIND, {"digest": digest}).first()
        return (row.name, row.role) if row is not None else None

    def any(self) -> bool:
        """Return whether any key is stored."""
        return self._connection.execute(select(keys.c.digest).limit(1)).first() is not None

    def forget_others(self, digest: Digest) -> int:
        """Delete all keys but the one with this SHA-256; return how many were deleted."""
        return self._connection.execute(delete(keys).where(keys.c.digest != digest)).rowcount
