"""Find whose key, token or session a request bears."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from hmac import compare_digest
from secrets import token_urlsafe
from threading import Lock

from core.access.rows import Keys, Sessions
from core.access.rules import ApiKey, Secret, Session, TokenRules, TokenVerifier, subject_of
from core.audit import record as audit
from core.audit.rules import Action
from core.errors import Unauthorised
from core.platform import Platform
from core.principal import Principal, Role
from core.registry.rows import Models
from core.settings import Settings
from core.values import Digest, sha256

# API keys: a secret is 256 random bits, shown once, stored as its SHA-256.

PREFIX = "pk_"
SHOWN = len(PREFIX) + 6  # characters of a secret that tell it from others


def make_key() -> str:
    """Return a fresh secret."""
    return PREFIX + token_urlsafe(32)


def prefix_of(secret: str) -> str:
    """Return what is shown of a secret that `make_key` made."""
    return secret[:SHOWN]


def find_secrets(platform: Platform, digests: Collection[Digest]) -> Mapping[Digest, Secret]:
    """Return those of these secrets that are stored, live or not, by their SHA-256.

    Hashes are looked up and compared, so the time it takes reveals nothing about a key.
    """
    with platform.transactions(read_only=True) as work:
        return work[Keys].find_all(digests)


def holder_of(key: ApiKey) -> Principal:
    """Return the principal who holds a key."""
    models = None if key.models is None else frozenset(key.models)
    return Principal(name=key.name, role=key.role, models=models, key=key.id)


# Bearer tokens of an OpenID Connect issuer.

ACTOR = "oidc:"  # no key's name has a colon


def authenticate_token(platform: Platform, tokens: TokenVerifier, token: str) -> Principal:
    """Return who brings a token. Raises Unauthorised or IssuerUnavailable.

    A token whose claims give no role is valid, but allows nothing.
    """
    claims = tokens.verify(token)
    rules = rules_of(platform.settings)
    names, models = rules.models_of(claims), None
    if names is not None:
        with platform.transactions(read_only=True) as work:
            models = frozenset(work[Models].ids_of(names))
    return Principal(name=ACTOR + subject_of(claims), role=rules.role_of(claims), models=models)


def rules_of(settings: Settings) -> TokenRules:
    """Return what the settings say of claims."""
    given = settings.oidc_roles or {role.value: role.value for role in Role}
    return TokenRules(
        role_claim=settings.oidc_role_claim,
        roles={value: Role(role) for value, role in given.items()},
        models_claim=settings.oidc_models_claim or None,
    )


# Sessions of browsers: opened by an API key, found by the id that the browser keeps.


def sign_in(
    platform: Platform, secret: Digest, *, request_id: str | None = None
) -> tuple[str, datetime]:
    """Open a session for the holder of the key whose secret has this SHA-256.

    Returns its id, 256 random bits of which the SHA-256 is stored, and when it expires. The caller
    has hashed what the person sent, or has it from a SignInLink. Raises Unauthorised.
    """
    now, session = platform.clock(), token_urlsafe(32)
    expires_at = now + timedelta(hours=platform.settings.session_hours)
    with platform.transactions(read_only=True) as work:
        opener = work[Keys].find(secret)
    if opener is None or not opener.lets_in(secret, now):
        raise Unauthorised
    holder = replace(holder_of(opener.key), request_id=request_id)
    with platform.on_behalf_of(holder).transactions() as work:
        digest = sha256(session.encode())
        work[Sessions].add(Session(digest=digest, secret=opener, expires_at=expires_at))
        ends = {"expires_at": expires_at.isoformat()}
        subject = f"api-keys/{holder.key}"
        audit.record(work, Action.SESSION_STARTED, subject, now=now, after=ends)
        work.commit()
    return session, expires_at


def find_sessions(platform: Platform, digests: Collection[Digest]) -> Mapping[Digest, Session]:
    """Return those of these sessions that are stored, live or not, by the SHA-256 of their ids."""
    with platform.transactions(read_only=True) as work:
        return work[Sessions].find_all(digests)


def sign_out(platform: Platform, principal: Principal, session: str) -> None:
    """End a session; one that has ended already stays so."""
    with platform.transactions() as work:
        if work[Sessions].remove(sha256(session.encode())):
            subject = f"api-keys/{principal.key}"
            audit.record(work, Action.SESSION_ENDED, subject, now=platform.clock())
            work.commit()


# Links that sign a browser in.

LASTS = timedelta(hours=1)


class SignInLink:
    """A token that stands once, and for an hour, for the key whose secret has this SHA-256."""

    def __init__(self, secret: Digest, clock: Callable[[], datetime]) -> None:
        self.token = token_urlsafe(32)
        self._secret: Digest | None = secret
        self._clock = clock
        self._until = clock() + LASTS
        self._lock = Lock()

    def is_good(self, token: str) -> bool:
        """Return whether a token is that of the link, which was not used and has not expired."""
        known = compare_digest(token.encode(), self.token.encode())
        return known and self._secret is not None and self._clock() < self._until

    def take(self, token: str) -> Digest | None:
        """Return the secret's SHA-256 for the token of a good link, once; else None."""
        with self._lock:
            if not self.is_good(token):
                return None
            secret, self._secret = self._secret, None
            return secret
