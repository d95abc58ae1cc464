"""Tokens of an OpenID Connect issuer: whom their claims name, and what they allow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from core.domain.access.roles import Role
from core.domain.values import Json
from core.errors import Unauthorised

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
