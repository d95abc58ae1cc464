"""Sessions of browsers."""

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, insert, select

from core.adapters.database.access.keys import to_key
from core.adapters.database.statements import chunks
from core.adapters.database.tables.access import api_key_secrets, api_keys, sessions
from core.domain.access.api_key import Secret
from core.domain.access.session import Session
from core.domain.values import Digest

_FIND = (
    select(
        api_keys,
        sessions.c.digest.label("session"),
        sessions.c.expires_at.label("session_expires_at"),
        api_key_secrets.c.digest,
        api_key_secrets.c.valid_until,
    )
    .join_from(sessions, api_key_secrets)
    .join(api_keys)
    .where(sessions.c.digest.in_(bindparam("digests", expanding=True)))
)


class SqlSessions:
    """The `Sessions` port over SQL."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, session: Session) -> None:
        """Store a session."""
        self._connection.execute(
            insert(sessions).values(
                digest=session.digest,
                secret=session.secret.digest,
                expires_at=session.expires_at,
            )
        )

    def find_all(self, digests: Collection[Digest]) -> Mapping[Digest, Session]:
        """Return those of these sessions that are stored, with the secrets that opened them."""
        found: dict[Digest, Session] = {}
        for chunk in chunks(digests):
            for row in self._connection.execute(_FIND, {"digests": chunk}):
                secret = Secret(key=to_key(row), digest=row.digest, valid_until=row.valid_until)
                found[row.session] = Session(
                    digest=row.session, secret=secret, expires_at=row.session_expires_at
                )
        return found

    def remove(self, digest: Digest) -> bool:
        """Remove a session; return whether there was one."""
        gone = delete(sessions).where(sessions.c.digest == digest)
        return self._connection.execute(gone).rowcount > 0

    def forget(self, before: datetime) -> int:
        """Remove the sessions that expired before a time; return how many."""
        old = delete(sessions).where(sessions.c.expires_at < before)
        return self._connection.execute(old).rowcount
