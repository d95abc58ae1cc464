"""Create, rotate and revoke API keys, and make sure that an administrator has one."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from core import errors
from core.access.authenticate import make_key, prefix_of
from core.access.rows import Keys
from core.access.rules import ApiKey, Secret
from core.audit import record as audit
from core.audit.rules import Action
from core.database.work import Work
from core.platform import Platform
from core.principal import SERVICE, Principal, Role
from core.registry.rows import Models
from core.values import Digest, KeyId, clean_name, new_id, sha256

log = logging.getLogger(__name__)

OVERLAP = timedelta(hours=4)


def create_key(
    platform: Platform,
    *,
    name: str,
    role: Role,
    models: Sequence[str] | None = None,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Create a key; return it and its secret, which is stored nowhere.

    A name stays taken when its key is revoked, so that audit events are about one key each. Raises
    NameInvalid, NameTaken, ModelNotFound, or FieldInvalid for an admin's key that is limited to
    some models or a time that has passed.
    """
    now, secret = platform.clock(), make_key()
    if name == SERVICE.name:
        raise errors.NameTaken("This name stands for the service itself.", name=name)
    if role is Role.ADMIN and models is not None:
        raise errors.FieldInvalid(
            "An admin key concerns every model: leave models out.", pointer="/models"
        )
    if expires_at is not None and expires_at <= now:
        raise errors.FieldInvalid("The key would have expired already.", pointer="/expires_at")
    with platform.transactions() as work:
        allowed = None if models is None else (work[Models].get(one).id for one in models)
        key = ApiKey(
            id=KeyId(new_id("key", now)),
            name=clean_name(name),
            role=role,
            models=None if allowed is None else tuple(dict.fromkeys(allowed)),
            prefix=prefix_of(secret),
            created_at=now,
            expires_at=expires_at,
        )
        _add(work, key, sha256(secret.encode()))
        work.commit()
    return key, secret


def rotate_key(
    platform: Platform, reference: str, overlap: timedelta = OVERLAP
) -> tuple[ApiKey, str]:
    """Give a key a new secret and return both; the old one is valid for `overlap` longer.

    Raises KeyNotFound or KeyNotLive.
    """
    now, secret = platform.clock(), make_key()
    with platform.transactions() as work:
        work[Keys].lock_all()
        key = work[Keys].get(reference)
        key.require_live(now)
        prefix = prefix_of(secret)
        work[Keys].rotate(key.id, sha256(secret.encode()), prefix, at=now, until=now + overlap)
        audit.record(
            work,
            Action.KEY_ROTATED,
            f"api-keys/{key.id}",
            now=now,
            before={"prefix": key.prefix},
            after={"prefix": prefix, "old_until": (now + overlap).isoformat()},
        )
        work.commit()
        return work[Keys].get(key.id), secret


def revoke_key(platform: Platform, reference: str) -> None:
    """Revoke a key; one that is revoked already stays so. Raises KeyNotFound or LastAdminKey."""
    now = platform.clock()
    with platform.transactions() as work:
        admins = [one.id for one in work[Keys].lock_all() if _is_admin(one, now)]
        key = work[Keys].get(reference)
        if key.revoked_at is not None:
            return
        if admins == [key.id]:
            raise errors.LastAdminKey(key=key.id)
        work[Keys].revoke(key.id, now)
        audit.record(
            work, Action.KEY_REVOKED, f"api-keys/{key.id}", now=now, before=summary_of(work, key)
        )
        work.commit()


def summary_of(work: Work, key: ApiKey) -> dict[str, Any]:
    """Return what a key allows, as plain JSON."""
    models = None if key.models is None else model_names(work, key)
    expires_at = key.expires_at and key.expires_at.isoformat()
    return {"name": key.name, "role": key.role, "models": models, "expires_at": expires_at}


def model_names(work: Work, holder: ApiKey | Principal) -> list[str]:
    """Return the names of a holder's models, and the ids of those that are there no more."""
    return [model_name(work, model) for model in holder.models or ()]


def model_name(work: Work, model: str) -> str:
    """Return the name of a model, or its id if it is there no more."""
    try:
        return work[Models].get(model).name
    except errors.ModelNotFound:
        return model


def _is_admin(key: ApiKey, now: datetime) -> bool:
    return key.role is Role.ADMIN and key.is_live(now)


# The admin key that the settings give, or that the first start makes.

ADMIN = "admin"
SHORTEST_KEY = 20


def require_unguessable(variable: str, key: str) -> None:
    """Raise UnsafeConfiguration if the key that this variable holds is a guessable one."""
    if len(key) < SHORTEST_KEY:
        raise errors.UnsafeConfiguration(
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
            if held := work[Keys].find(digest):
                if not held.lets_in(digest, now):
                    log.warning(
                        "PERENNIAL_ADMIN_KEY holds a key that was revoked or rotated: requests "
                        "with it get 401"
                    )
                return None
            if not given and work[Keys].any():
                return None
            key = ApiKey(
                id=KeyId(new_id("key", now)),
                name=_free_name(work),
                role=Role.ADMIN,
                prefix=prefix,
                created_at=now,
            )
            try:
                _add(work, key, digest)
            except errors.NameTaken:  # by another process, just now
                continue
            work.commit()
        return None if given else made


def admin_secret(platform: Platform) -> Digest | None:
    """Return the SHA-256 of a secret that lets an admin in until it is rotated, None without one.

    That of the settings comes first, then those of the oldest key.
    """
    given, now = platform.settings.admin_key.get_secret_value(), platform.clock()
    with platform.transactions(read_only=True) as work:
        secrets = work[Keys].secrets_of(Role.ADMIN)
    good = [one.digest for one in secrets if one.valid_until is None and one.is_live(now)]
    named = sha256(given.encode())
    return named if named in good else next(iter(good), None)


def revoke_other_keys(platform: Platform) -> int:
    """Revoke every key except that of the settings; return the number of revoked keys.

    Raises UnsafeConfiguration if the settings have none, or one that was revoked or rotated, which
    lets nobody in any more, or will soon.
    """
    given = platform.settings.admin_key.get_secret_value()
    if not given:
        raise errors.UnsafeConfiguration("Set PERENNIAL_ADMIN_KEY to the key to keep.")
    ensure_admin_key(platform)
    digest, now = sha256(given.encode()), platform.clock()
    with platform.transactions() as work:
        keys, held = work[Keys].lock_all(), work[Keys].find(digest)
        if held is None or not _may_stay_alone(held, digest, now):
            raise errors.UnsafeConfiguration(
                "PERENNIAL_ADMIN_KEY holds a key that was revoked, rotated or is no admin's: set "
                "another one."
            )
        if work[Keys].end_secrets(held.key.id, now, but=digest):
            ended, subject = {"old_until": now.isoformat()}, f"api-keys/{held.key.id}"
            audit.record(work, Action.KEY_ROTATED, subject, now=now, after=ended)
        others = [one for one in keys if one.id != held.key.id and one.revoked_at is None]
        for other in others:
            work[Keys].revoke(other.id, now)
            audit.record(work, Action.KEY_REVOKED, f"api-keys/{other.id}", now=now)
        work.commit()
    return len(others)


def _may_stay_alone(held: Secret, digest: Digest, now: datetime) -> bool:
    """Return whether a secret is an admin's, and no rotation has set its end."""
    admins = held.key.role is Role.ADMIN
    return admins and held.valid_until is None and held.lets_in(digest, now)


def _add(work: Work, key: ApiKey, digest: Digest) -> None:
    work[Keys].add(key, digest)
    subject, summary = f"api-keys/{key.id}", summary_of(work, key)
    audit.record(work, Action.KEY_CREATED, subject, now=key.created_at, after=summary)


def _free_name(work: Work) -> str:
    name, number = ADMIN, 1
    while True:
        try:
            work[Keys].get(name)
        except errors.KeyNotFound:
            return name
        number += 1
        name = f"{ADMIN}-{number}"
