"""Secrets of API keys: 256 random bits, shown once, stored as a SHA-256."""

from collections.abc import Collection, Mapping
from secrets import token_urlsafe

from core.domain.access.api_key import ApiKey
from core.domain.access.principal import Principal
from core.domain.values import sha256
from core.ports import Platform

PREFIX = "pk_"
SHOWN = len(PREFIX) + 6  # characters of a secret that tell it from others


def make_key() -> str:
    """Return a fresh secret."""
    return PREFIX + token_urlsafe(32)


def prefix_of(secret: str) -> str:
    """Return what is shown of a secret that `make_key` made."""
    return secret[:SHOWN]


def authenticate(platform: Platform, secrets: Collection[str]) -> Mapping[str, Principal]:
    """Return who holds keys, by their secrets, without those that let nobody in.

    SHA-256 hashes are looked up and compared, so the time it takes reveals nothing about a key.
    Nothing is remembered: a rotation or a revocation holds from the next request on.
    """
    digests = {secret: sha256(secret.encode()) for secret in secrets}
    with platform.transactions(read_only=True) as work:
        held = work.keys.find_all(digests.values())
    now = platform.clock()
    return {
        secret: holder_of(held[digest].key)
        for secret, digest in digests.items()
        if digest in held and held[digest].lets_in(digest, now)
    }


def holder_of(key: ApiKey) -> Principal:
    """Return the principal who holds a key."""
    models = None if key.models is None else frozenset(key.models)
    return Principal(name=key.name, role=key.role, models=models, key=key.id)
