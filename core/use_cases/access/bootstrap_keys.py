"""The admin key that the settings give, or that the first start makes."""

import logging
from datetime import datetime

from core.domain.access.api_key import ApiKey, Secret
from core.domain.access.audit import Action
from core.domain.access.roles import Role
from core.domain.values import Digest, KeyId, new_id, sha256
from core.errors import KeyNotFound, NameTaken, UnsafeConfiguration
from core.ports import Platform, UnitOfWork
from core.use_cases.access import audit
from core.use_cases.access.authenticate import make_key, prefix_of
from core.use_cases.access.keys import summary_of

log = logging.getLogger(__name__)

ADMIN = "admin"
SHORTEST_KEY = 20


def require_unguessable(variable: str, key: str) -> None:
    """Raise UnsafeConfiguration if the key that this variable holds is a guessable one."""
    if len(key) < SHORTEST_KEY:
        raise UnsafeConfiguration(
            f"{variable} has {len(key)} characters; a key must have at least {SHORTEST_KEY} random "
            "ones. `perennial key` prints a new key."
        )


def ensure_admin_key(platform: Platform) -> str | None:
    """Store an admin key unless there is a key, and return one that this call made, else None.

    A key given by the settings is stored under its hash and never returned. One that was revoked
    or rotated stays so.
    """
    given = platform.settings.admin_key.get_secret_value()
    made = given or make_key()
    digest, now = sha256(made.encode()), platform.clock()
    prefix = None if given else prefix_of(made)
    while True:
        with platform.transactions() as work:
            if held := work.keys.find(digest):
                _warn_unless_it_lets_in(held, digest, now)
                return None
            if not given and work.keys.any():
                return None
            try:
                _add(work, digest, prefix, now)
            except NameTaken:  # by another process, just now
                continue
            work.commit()
        return None if given else made


def revoke_other_keys(platform: Platform) -> int:
    """Revoke every key except that of the settings; return the number of revoked keys.

    Raises UnsafeConfiguration if the settings have none, or one that was revoked or rotated, which
    lets nobody in any more, or will soon.
    """
    given = platform.settings.admin_key.get_secret_value()
    if not given:
        raise UnsafeConfiguration("Set PERENNIAL_ADMIN_KEY to the key to keep.")
    ensure_admin_key(platform)
    digest, now = sha256(given.encode()), platform.clock()
    with platform.transactions() as work:
        keys, held = work.keys.lock_all(), work.keys.find(digest)
        if held is None or not _may_stay_alone(held, digest, now):
            raise UnsafeConfiguration(
                "PERENNIAL_ADMIN_KEY holds a key that was revoked, rotated or is no admin's: set "
                "another one."
            )
        if work.keys.end_secrets(held.key.id, now, but=digest):
            ended, subject = {"old_until": now.isoformat()}, f"api-keys/{held.key.id}"
            audit.record(work, Action.KEY_ROTATED, subject, now=now, after=ended)
        others = [one for one in keys if one.id != held.key.id and one.revoked_at is None]
        for other in others:
            work.keys.revoke(other.id, now)
            audit.record(work, Action.KEY_REVOKED, f"api-keys/{other.id}", now=now)
        work.commit()
    return len(others)


def _may_stay_alone(held: Secret, digest: Digest, now: datetime) -> bool:
    """Return whether a secret is an admin's, and no rotation has set its end."""
    admins = held.key.role is Role.ADMIN
    return admins and held.valid_until is None and held.lets_in(digest, now)


def _add(work: UnitOfWork, digest: Digest, prefix: str | None, now: datetime) -> None:
    key = ApiKey(
        id=KeyId(new_id("key", now)),
        name=_free_name(work),
        role=Role.ADMIN,
        prefix=prefix,
        created_at=now,
    )
    work.keys.add(key, digest)
    audit.record(
        work, Action.KEY_CREATED, f"api-keys/{key.id}", now=now, after=summary_of(work, key)
    )


def _free_name(work: UnitOfWork) -> str:
    name, number = ADMIN, 1
    while True:
        try:
            work.keys.get(name)
        except KeyNotFound:
            return name
        number += 1
        name = f"{ADMIN}-{number}"


def _warn_unless_it_lets_in(held: Secret, digest: Digest, now: datetime) -> None:
    if not held.lets_in(digest, now):
        log.warning(
            "PERENNIAL_ADMIN_KEY holds a key that was revoked or rotated: requests with it get 401"
        )
