"""API keys: who is let in, and until when."""

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import SecretStr

from core.access.authenticate import authenticate, make_key
from core.access.keys import create_key, ensure_admin_key, revoke_key, revoke_other_keys, rotate_key
from core.access.rows import Keys
from core.audit.rows import AuditTrail
from core.audit.rules import Action, AuditFilter
from core.errors import (
    FieldInvalid,
    KeyNotFound,
    KeyNotLive,
    LastAdminKey,
    NameTaken,
    UnsafeConfiguration,
)
from core.platform import Platform
from core.principal import Role
from core.values import sha256
from tests.support.factories import NOW
from tests.support.scene import Scene

GIVEN = "pk_that-the-settings-hold"

HOUR = timedelta(hours=1)


@pytest.fixture
def platform(scene: Scene) -> Platform:
    """A platform whose settings hold an admin key."""
    settings = scene.platform.settings.model_copy(update={"admin_key": SecretStr(GIVEN)})
    made = replace(scene.platform, settings=settings, clock=lambda: NOW)
    ensure_admin_key(made)
    return made


def later(platform: Platform, by: timedelta) -> Platform:
    return replace(platform, clock=lambda: NOW + by)


def lets_in(platform: Platform, secret: str) -> bool:
    return secret in authenticate(platform, [secret])


def test_a_key_lets_its_holder_in_with_its_role(platform: Platform, scene: Scene) -> None:
    model = scene.model()
    key, secret = create_key(platform, name="ci", role=Role.OPERATOR, models=[model.name])
    holder = authenticate(platform, [secret])[secret]
    assert (holder.name, holder.role, holder.key) == ("ci", Role.OPERATOR, key.id)
    assert holder.models == {model.id}
    assert secret.startswith(key.prefix or "?")
    assert not lets_in(platform, secret + "x")
    with platform.transactions(read_only=True) as work:
        assert work[Keys].get("ci") == work[Keys].get(key.id) == key
        assert {one.name for one in work[Keys].page(9, None)} == {"admin", "ci"}


def test_names_are_not_given_twice(platform: Platform) -> None:
    create_key(platform, name="ci", role=Role.VIEWER)
    revoke_key(platform, "ci")
    with pytest.raises(NameTaken):
        create_key(platform, name="ci", role=Role.VIEWER)


def test_keys_that_make_no_sense_are_refused(platform: Platform, scene: Scene) -> None:
    with pytest.raises(FieldInvalid, match="every model"):
        create_key(platform, name="a", role=Role.ADMIN, models=[scene.model().name])
    with pytest.raises(FieldInvalid, match="expired"):
        create_key(platform, name="a", role=Role.VIEWER, expires_at=NOW)


def test_a_key_expires(platform: Platform) -> None:
    _, secret = create_key(platform, name="ci", role=Role.VIEWER, expires_at=NOW + HOUR)
    assert lets_in(platform, secret)
    assert not lets_in(later(platform, HOUR), secret)
    with pytest.raises(KeyNotLive):
        rotate_key(later(platform, HOUR), "ci")


def test_both_secrets_are_valid_during_the_overlap(platform: Platform) -> None:
    key, old = create_key(platform, name="ci", role=Role.VIEWER)
    rotated, new = rotate_key(platform, key.id, HOUR)
    assert (rotated.rotated_at, rotated.prefix) == (NOW, new[:9])
    assert [lets_in(platform, one) for one in (old, new)] == [True, True]
    assert [lets_in(later(platform, HOUR), one) for one in (old, new)] == [False, True]


def test_without_overlap_every_old_secret_ends_at_once(platform: Platform) -> None:
    _, oldest = create_key(platform, name="ci", role=Role.VIEWER)
    _, old = rotate_key(platform, "ci", HOUR)
    _, new = rotate_key(platform, "ci", timedelta(0))
    assert [lets_in(platform, one) for one in (oldest, old, new)] == [False, False, True]


def test_a_longer_overlap_does_not_revive_a_secret(platform: Platform) -> None:
    _, old = create_key(platform, name="ci", role=Role.VIEWER)
    rotate_key(platform, "ci", HOUR)
    rotate_key(platform, "ci", 5 * HOUR)
    assert not lets_in(later(platform, HOUR), old)


def test_a_revoked_key_lets_nobody_in(platform: Platform) -> None:
    _, old = create_key(platform, name="ci", role=Role.VIEWER)
    _, new = rotate_key(platform, "ci", HOUR)
    revoke_key(platform, "ci")
    revoke_key(platform, "ci")
    assert [lets_in(platform, one) for one in (old, new)] == [False, False]
    with pytest.raises(KeyNotLive):
        rotate_key(platform, "ci")
    with pytest.raises(KeyNotFound):
        revoke_key(platform, "nobody")


def test_the_last_admin_key_cannot_be_revoked(platform: Platform) -> None:
    create_key(platform, name="viewer", role=Role.VIEWER)
    create_key(platform, name="brief", role=Role.ADMIN, expires_at=NOW + HOUR)
    with pytest.raises(LastAdminKey):
        revoke_key(later(platform, HOUR), "admin")
    revoke_key(platform, "admin")
    with pytest.raises(LastAdminKey):
        revoke_key(platform, "brief")


def test_of_two_admins_who_revoke_each_other_one_stays(platform: Platform) -> None:
    create_key(platform, name="second", role=Role.ADMIN)

    def revoke(name: str) -> bool:
        try:
            revoke_key(platform, name)
        except LastAdminKey:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(revoke, ("admin", "second"))) == [False, True]


@pytest.mark.parametrize(
    "end", [lambda p: rotate_key(p, "admin", timedelta(0)), lambda p: revoke_key(p, "admin")]
)
def test_a_start_does_not_let_in_again_what_was_revoked_or_rotated(
    platform: Platform, end: Callable[[Platform], object]
) -> None:
    create_key(platform, name="second", role=Role.ADMIN)
    end(platform)
    assert ensure_admin_key(platform) is None
    assert not lets_in(platform, GIVEN)
    with pytest.raises(UnsafeConfiguration, match="revoked"):
        revoke_other_keys(platform)


def test_a_rotated_secret_of_the_settings_is_not_made_the_only_one(platform: Platform) -> None:
    _, new = rotate_key(platform, "admin", HOUR)
    with pytest.raises(UnsafeConfiguration, match="rotated"):
        revoke_other_keys(platform)
    assert lets_in(later(platform, 2 * HOUR), new)


def test_former_secrets_of_the_settings_key_end_with_an_audit_event(platform: Platform) -> None:
    _, new = rotate_key(platform, "admin", HOUR)
    settings = platform.settings.model_copy(update={"admin_key": SecretStr(new)})
    assert revoke_other_keys(replace(platform, settings=settings)) == 0
    assert [lets_in(platform, one) for one in (GIVEN, new)] == [False, True]
    with platform.transactions(read_only=True) as work:
        (newest,) = work[AuditTrail].page(1, None, AuditFilter())
    assert newest.change.action == Action.KEY_ROTATED
    assert newest.change.after == {"old_until": NOW.isoformat()}


def test_the_settings_key_alone_stays(platform: Platform) -> None:
    _, other = create_key(platform, name="second", role=Role.ADMIN)
    next_key = platform.settings.model_copy(update={"admin_key": SecretStr("pk_the-next-of-them")})
    renewed = replace(platform, settings=next_key)
    assert revoke_other_keys(renewed) == 2
    keys = (GIVEN, other, "pk_the-next-of-them")
    assert [lets_in(platform, one) for one in keys] == [False, False, True]


def test_a_secret_is_256_bits_behind_a_prefix() -> None:
    made = {make_key() for _ in range(100)}
    assert len(made) == 100
    for secret in made:
        assert len(base64.urlsafe_b64decode(secret.removeprefix("pk_") + "=")) * 8 == 256


def test_secrets_are_stored_as_hashes_alone(platform: Platform) -> None:
    _, secret = create_key(platform, name="ci", role=Role.VIEWER)
    with platform.transactions(read_only=True) as work:
        held = work[Keys].find(sha256(secret.encode()))
        assert held is not None
        assert secret not in str(held)
        assert GIVEN not in str(work[Keys].page(9, None))


def test_the_latest_use_of_a_key_is_kept_whoever_notes_it_first(platform: Platform) -> None:
    one, _ = create_key(platform, name="one", role=Role.VIEWER)
    other, _ = create_key(platform, name="other", role=Role.VIEWER)
    for uses in ({one.id: NOW}, {one.id: NOW + HOUR, other.id: NOW}, {one.id: NOW}):
        with platform.transactions() as work:
            work[Keys].note_uses(uses)
            work.commit()
    never, _ = create_key(platform, name="never", role=Role.VIEWER)
    with platform.transactions(read_only=True) as work:
        found = work[Keys].last_uses([one.id, other.id, never.id])
    assert found == {one.id: NOW + HOUR, other.id: NOW}
