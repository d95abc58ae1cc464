"""API keys, sessions and tokens: who may enter, as what, and until when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hmac import compare_digest
from typing import Protocol
from urllib.parse import urlsplit

from core.errors import KeyNotLive, Unauthorised
from core.principal import Role
from core.values import Digest, Json, KeyId, ModelId

# API keys: what each allows, and until when.


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


# Sessions of browsers, each opened by a secret of an API key.


@dataclass(frozen=True, kw_only=True)
class Session:
    """A session, by the SHA-256 of its id. It ends no later than the secret that opened it."""

    digest: Digest
    secret: Secret
    expires_at: datetime

    def lets_in(self, now: datetime) -> bool:
        """Return whether the session lets its browser in."""
        return self.expires_at > now and self.secret.is_live(now)


# Tokens of an OpenID Connect issuer: whom their claims name, and what they allow.

EVERY_MODEL = "*"
_LONGEST_SUBJECT = 255  # characters, as OpenID Connect has it
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, kw_only=True)
class TokenRules:
    """The claims that give a token its role and models, and the meaning of their values."""

    role_claim: str
    roles: Mapping[str, Role]  # by a value of that claim
    models_claim: str | None = None  # None: every token concerns all models

    def role_of(self, claims: Json) -> Role | None:
        """Return the highest role that the claims give, None if they give none."""
        values = texts_of(claims, self.role_claim)
        found = {self.roles[value] for value in values if value in self.roles}
        return next((role for role in reversed(Role) if role in found), None)

    def models_of(self, claims: Json) -> Sequence[str] | None:
        """Return the names of the models that the claims allow, None for all, also later ones.

        As with keys, an admin concerns every model. Where models have a claim, a token without it
        has none.
        """
        if self.models_claim is None or self.role_of(claims) is Role.ADMIN:
            return None
        names = texts_of(claims, self.models_claim)
        return None if EVERY_MODEL in names else names


def subject_of(claims: Json) -> str:
    """Return the subject that the claims name. Raises Unauthorised for one that cannot be shown."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT:
        raise Unauthorised
    if not subject.isprintable():
        raise Unauthorised
    return subject


def texts_of(claims: Json, name: str) -> Sequence[str]:
    """Return the texts that a claim holds: one, a list of them, or none.

    A name that no claim has may also be a path with dots, such as realm_access.roles. Texts that
    are not printable name nothing, and some of them no database takes.
    """
    value: object = claims.get(name)
    if value is None:
        value = claims
        for step in name.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str) and text.isprintable()]


def is_confidential(url: str) -> bool:
    """Return whether what is read at a URL can neither be seen nor replaced on its way."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    on_loopback = parts.scheme == "http" and parts.hostname in _LOOPBACK
    return bool(parts.hostname) and (parts.scheme == "https" or on_loopback)


class TokenVerifier(Protocol):
    """The check of the bearer tokens that an issuer gives."""

    def verify(self, token: str) -> Json:
        """Return the claims of a valid token. Raises Unauthorised or IssuerUnavailable."""
