"""API keys, by their SHA-256."""

from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, select

from core.adapters.database.statements import insert_new
from core.adapters.database.tables.access import keys
from core.domain.values import Digest

_FIND = select(keys.c.name, keys.c.role).where(keys.c.digest == bindparam("digest"))


class SqlKeys:
    """The port `Keys`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, name: str, role: str, digest: Digest, at: datetime) -> None:
        """Let a key in; one that is in already stays as it is."""
        values = {"digest": digest, "name": name, "role": role, "created_at": at}
        insert_new(self._connection, keys, values)

    def find(self, digest: Digest) -> tuple[str, str] | None:
        """(name, role) of the key with this SHA-256."""
        row = self._connection.execute(_FIND, {"digest": digest}).first()
        return (row.name, row.role) if row is not None else None

    def any(self) -> bool:
        """Whether there is any key."""
        return self._connection.execute(select(keys.c.digest).limit(1)).first() is not None

    def forget_others(self, digest: Digest) -> int:
        """Let in no key but the one with this SHA-256 from now on; how many others there were."""
        return self._connection.execute(delete(keys).where(keys.c.digest != digest)).rowcount
