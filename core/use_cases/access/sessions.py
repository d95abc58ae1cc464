"""Sessions of browsers: opened by an API key, found by the id that the browser keeps."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from secrets import token_urlsafe

from core.domain.access.audit import Action
from core.domain.access.principal import Principal
from core.domain.access.session import Session
from core.domain.values import sha256
from core.errors import Unauthorised
from core.ports import Platform
from core.use_cases.access import audit
from core.use_cases.access.authenticate import authenticate, holder_of


def sign_in(
    platform: Platform, secret: str, *, request_id: str | None = None
) -> tuple[str, datetime]:
    """Open a session for the holder of a key; return its id and when it expires.

    The id is 256 random bits, of which the SHA-256 is stored. Raises Unauthorised.
    """
    holder = authenticate(platform, [secret]).get(secret)
    if holder is None:
        raise Unauthorised("This key lets nobody in: it is unknown, revoked or has expired.")
    now, session = platform.clock(), token_urlsafe(32)
    expires_at = now + timedelta(hours=platform.settings.session_hours)
    theirs = platform.on_behalf_of(replace(holder, request_id=request_id))
    with theirs.transactions() as work:
        opener = work.keys.find(sha256(secret.encode()))
        if opener is None:  # secrets are never deleted
            raise Unauthorised
        digest = sha256(session.encode())
        work.sessions.add(Session(digest=digest, secret=opener, expires_at=expires_at))
        ends = {"expires_at": expires_at.isoformat()}
        subject = f"api-keys/{holder.key}"
        audit.record(work, Action.SESSION_STARTED, subject, now=now, after=ends)
        work.commit()
    return session, expires_at


def authenticate_sessions(platform: Platform, ids: Collection[str]) -> Mapping[str, Principal]:
    """Return who has opened sessions, by the ids of those that let their browser in.

    As with keys, nothing is remembered: a session ends with the secret that opened it.
    """
    digests = {session: sha256(session.encode()) for session in ids}
    with platform.transactions(read_only=True) as work:
        found = work.sessions.find_all(digests.values())
    now = platform.clock()
    return {
        session: holder_of(found[digest].secret.key)
        for session, digest in digests.items()
        if digest in found and found[digest].lets_in(now)
    }


def sign_out(platform: Platform, principal: Principal, session: str) -> None:
    """End a session; one that has ended already stays so."""
    with platform.transactions() as work:
        if work.sessions.remove(sha256(session.encode())):
            subject = f"api-keys/{principal.key}"
            audit.record(work, Action.SESSION_ENDED, subject, now=platform.clock())
            work.commit()
