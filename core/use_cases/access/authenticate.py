"""Secrets of API keys: 256 random bits, shown once, stored as a SHA-256."""

import secrets

from core.domain.access.principal import Principal
from core.domain.values import sha256
from core.errors import Unauthorised
from core.ports import Platform

PREFIX = "pk_"
SHOWN = len(PREFIX) + 6  # characters of a secret that tell it from others


def make_key() -> str:
    """Return a fresh secret."""
    return PREFIX + secrets.token_urlsafe(32)


def prefix_of(secret: str) -> str:
    """Return what is shown of a secret that `make_key` made."""
    return secret[:SHOWN]


def authenticate(platform: Platform, secret: str) -> Principal:
    """Return who holds a key. Raises Unauthorised.

    SHA-256 hashes are looked up and compared, so the time it takes reveals nothing about a key.
    Nothing is remembered: a rotation or a revocation holds from the next request on.
    """
    digest = sha256(secret.encode())
    with platform.transactions(read_only=True) as work:
        held = work.keys.find(digest)
    if held is None or not held.lets_in(digest, platform.clock()):
        raise Unauthorised
    key = held.key
    models = None if key.models is None else frozenset(key.models)
    return Principal(name=key.name, role=key.role, models=models, key=key.id)
