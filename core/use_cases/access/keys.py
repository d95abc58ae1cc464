"""API keys: 256 random bits, shown once, stored as a SHA-256."""

import secrets

from core.domain.access.principal import Principal
from core.domain.access.roles import Role
from core.domain.values import sha256
from core.errors import Unauthorised, UnsafeConfiguration
from core.ports import Platform

PREFIX = "pk_"
SHORTEST_KEY = 20


def make_key() -> str:
    """Return a fresh key."""
    return PREFIX + secrets.token_urlsafe(32)


def require_unguessable(variable: str, key: str) -> None:
    """Raise UnsafeConfiguration if the key that this variable holds is a guessable one."""
    if len(key) < SHORTEST_KEY:
        raise UnsafeConfiguration(
            f"{variable} has {len(key)} characters; a key must have at least {SHORTEST_KEY} random "
            "ones. `perennial key` prints a new key."
        )


def ensure_admin_key(platform: Platform) -> str | None:
    """Store an admin key unless there is a key, and return one that this call made, else None.

    A key given by the settings is stored under its hash and never returned.
    """
    given = platform.settings.admin_key.get_secret_value()
    key = given or make_key()
    with platform.transactions() as work:
        digest = sha256(key.encode())
        if given and work.keys.find(digest):
            return None
        if not given and work.keys.any():
            return None
        work.keys.add("admin", Role.ADMIN, digest, platform.clock())
        work.commit()
    return None if given else key


def revoke_other_keys(platform: Platform) -> int:
    """Revoke every key except that of the settings; return the number of revoked keys.

    Raises UnsafeConfiguration if the settings have none.
    """
    given = platform.settings.admin_key.get_secret_value()
    if not given:
        raise UnsafeConfiguration("Set PERENNIAL_ADMIN_KEY to the key to keep.")
    with platform.transactions() as work:
        digest = sha256(given.encode())
        work.keys.add("admin", Role.ADMIN, digest, platform.clock())
        others = work.keys.forget_others(digest)
        work.commit()
    return others


def authenticate(platform: Platform, key: str) -> Principal:
    """Return who holds a key. Raises Unauthorised.

    The look-up compares SHA-256 hashes, so its timing reveals nothing about a key.
    """
    with platform.transactions(read_only=True) as work:
        found = work.keys.find(sha256(key.encode()))
    if found is None:
        raise Unauthorised
    name, role = found
    return Principal(name=name, role=Role.known(role))
