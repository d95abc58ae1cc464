"""Create, rotate and revoke API keys."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from core.domain.access.api_key import ApiKey
from core.domain.access.audit import Action
from core.domain.access.principal import SERVICE, Principal
from core.domain.access.roles import Role
from core.domain.values import KeyId, clean_name, new_id, sha256
from core.errors import FieldInvalid, LastAdminKey, ModelNotFound, NameTaken
from core.ports import Platform, UnitOfWork
from core.use_cases.access import audit
from core.use_cases.access.authenticate import make_key, prefix_of

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
        raise NameTaken("This name stands for the service itself.", name=name)
    if role is Role.ADMIN and models is not None:
        raise FieldInvalid(
            "An admin key concerns every model: leave models out.", pointer="/models"
        )
    if expires_at is not None and expires_at <= now:
        raise FieldInvalid("The key would have expired already.", pointer="/expires_at")
    with platform.transactions() as work:
        allowed = None if models is None else (work.models.get(one).id for one in models)
        key = ApiKey(
            id=KeyId(new_id("key", now)),
            name=clean_name(name),
            role=role,
            models=None if allowed is None else tuple(dict.fromkeys(allowed)),
            prefix=prefix_of(secret),
            created_at=now,
            expires_at=expires_at,
        )
        work.keys.add(key, sha256(secret.encode()))
        audit.record(
            work, Action.KEY_CREATED, f"api-keys/{key.id}", now=now, after=summary_of(work, key)
        )
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
        work.keys.lock_all()
        key = work.keys.get(reference)
        key.require_live(now)
        prefix = prefix_of(secret)
        work.keys.rotate(key.id, sha256(secret.encode()), prefix, at=now, until=now + overlap)
        audit.record(
            work,
            Action.KEY_ROTATED,
            f"api-keys/{key.id}",
            now=now,
            before={"prefix": key.prefix},
            after={"prefix": prefix, "old_until": (now + overlap).isoformat()},
        )
        work.commit()
        return work.keys.get(key.id), secret


def revoke_key(platform: Platform, reference: str) -> None:
    """Revoke a key; one that is revoked already stays so. Raises KeyNotFound or LastAdminKey."""
    now = platform.clock()
    with platform.transactions() as work:
        admins = [one.id for one in work.keys.lock_all() if _is_admin(one, now)]
        key = work.keys.get(reference)
        if key.revoked_at is not None:
            return
        if admins == [key.id]:
            raise LastAdminKey(key=key.id)
        work.keys.revoke(key.id, now)
        audit.record(
            work, Action.KEY_REVOKED, f"api-keys/{key.id}", now=now, before=summary_of(work, key)
        )
        work.commit()


def summary_of(work: UnitOfWork, key: ApiKey) -> dict[str, Any]:
    """Return what a key allows, as plain JSON."""
    models = None if key.models is None else model_names(work, key)
    expires_at = key.expires_at and key.expires_at.isoformat()
    return {"name": key.name, "role": key.role, "models": models, "expires_at": expires_at}


def model_names(work: UnitOfWork, holder: ApiKey | Principal) -> list[str]:
    """Return the names of a holder's models, and the ids of those that are there no more."""
    return [model_name(work, model) for model in holder.models or ()]


def model_name(work: UnitOfWork, model: str) -> str:
    """Return the name of a model, or its id if it is there no more."""
    try:
        return work.models.get(model).name
    except ModelNotFound:
        return model


def _is_admin(key: ApiKey, now: datetime) -> bool:
    return key.role is Role.ADMIN and key.is_live(now)
