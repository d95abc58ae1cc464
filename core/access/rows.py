"""Rows of API keys and of the sessions of browsers."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, insert, or_, select, update

from core.access.rules import ApiKey, Secret, Session
from core.database.statements import chunks, find_named, insert_new, page_by_id, upsert
from core.database.tables import api_key_secrets, api_keys, key_uses, sessions
from core.database.work import Rows
from core.errors import KeyNotFound, NameTaken
from core.principal import Role
from core.values import Digest, KeyId, from_plain

_FIND_KEYS = (
    select(api_keys, api_key_secrets.c.digest, api_key_secrets.c.valid_until)
    .join_from(api_key_secrets, api_keys)
    .where(api_key_secrets.c.digest.in_(bindparam("digests", expanding=True)))
)


class Keys(Rows):
    """Rows of API keys, and of their secrets by their SHA-256."""

    def add(self, key: ApiKey, secret: Digest) -> None:
        """Store a key with its first secret. Raises NameTaken."""
        if not insert_new(self._connection, api_keys, vars(key)):
            raise NameTaken(name=key.name)
        self._add_secret(key.id, secret)

    def get(self, reference: str) -> ApiKey:
        """Return a key by id or name. Raises KeyNotFound."""
        row = find_named(self._connection, api_keys, reference)
        if row is None:
            raise KeyNotFound(key=reference)
        return to_key(row)

    def find(self, digest: Digest) -> Secret | None:
        """Return the secret with this SHA-256, with its key, or None."""
        return self.find_all([digest]).get(digest)

    def find_all(self, digests: Collection[Digest]) -> Mapping[Digest, Secret]:
        """Return those of these secrets that are stored, with their keys, by their SHA-256."""
        found: dict[Digest, Secret] = {}
        for chunk in chunks(digests):
            rows = self._connection.execute(_FIND_KEYS, {"digests": chunk})
            found |= {row.digest: _to_secret(row) for row in rows}
        return found

    def secrets_of(self, role: Role) -> Sequence[Secret]:
        """Return the secrets of the keys with a role, those of the oldest key first."""
        query = select(api_keys, api_key_secrets.c.digest, api_key_secrets.c.valid_until)
        query = query.join_from(api_key_secrets, api_keys).where(api_keys.c.role == role)
        return [_to_secret(row) for row in self._connection.execute(query.order_by(api_keys.c.id))]

    def any(self) -> bool:
        """Return whether any key is stored."""
        return self._connection.execute(select(api_keys.c.id).limit(1)).first() is not None

    def lock_all(self) -> Sequence[ApiKey]:
        """Return all keys, oldest first, and keep others from changing them until commit."""
        query = select(api_keys).order_by(api_keys.c.id).with_for_update()
        return [to_key(row) for row in self._connection.execute(query)]

    def page(self, limit: int, after: str | None) -> Sequence[ApiKey]:
        """Return a page of keys, oldest first; `after` is the last id of the page before."""
        return [to_key(row) for row in page_by_id(self._connection, api_keys, limit, after)]

    def revoke(self, key: KeyId, at: datetime) -> None:
        """Record that a key was revoked."""
        self._write(key, revoked_at=at)

    def rotate(
        self, key: KeyId, secret: Digest, prefix: str, *, at: datetime, until: datetime
    ) -> None:
        """Give a key a new secret; its other ones are valid until a time, or less."""
        self._write(key, prefix=prefix, rotated_at=at)
        self.end_secrets(key, until)
        self._add_secret(key, secret)

    def end_secrets(self, key: KeyId, until: datetime, *, but: Digest | None = None) -> int:
        """Limit the secrets of a key, but one, to a time; return how many were valid longer."""
        ends = api_key_secrets.c.valid_until
        longer = or_(ends.is_(None), ends > until)
        theirs = (api_key_secrets.c.key == key, api_key_secrets.c.digest != (but or ""))
        ended = self._connection.execute(
            update(api_key_secrets).where(*theirs, longer).values(valid_until=until)
        )
        return ended.rowcount

    def note_uses(self, uses: Mapping[KeyId, datetime]) -> None:
        """Note when keys were used last; rows are locked in one order, so nobody deadlocks."""
        for key, at in sorted(uses.items()):
            values = {"key": key, "at": at}
            upsert(self._connection, key_uses, values, where=key_uses.c.at < at)

    def last_uses(self, keys: Collection[KeyId]) -> Mapping[KeyId, datetime]:
        """Return when some keys were used last; those of which no use is known are left out."""
        query = select(key_uses.c.key, key_uses.c.at).where(key_uses.c.key.in_(keys))
        return {row.key: row.at for row in self._connection.execute(query)}

    def _add_secret(self, key: KeyId, digest: Digest) -> None:
        if not insert_new(self._connection, api_key_secrets, {"digest": digest, "key": key}):
            raise NameTaken("There is a key with this secret already.")

    def _write(self, key: KeyId, **values: Any) -> None:
        self._connection.execute(update(api_keys).where(api_keys.c.id == key).values(values))


_FIND_SESSIONS = (
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


class Sessions(Rows):
    """Rows of browsers' sessions, by the SHA-256 of their ids."""

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
            for row in self._connection.execute(_FIND_SESSIONS, {"digests": chunk}):
                found[row.session] = Session(
                    digest=row.session, secret=_to_secret(row), expires_at=row.session_expires_at
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


def _to_secret(row: Row[Any]) -> Secret:
    return Secret(key=to_key(row), digest=row.digest, valid_until=row.valid_until)


def to_key(row: Row[Any]) -> ApiKey:
    return from_plain(ApiKey, {**row._mapping, "role": Role.known(row.role)})
