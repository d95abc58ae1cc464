"""API keys and sessions of browsers: who is let in, and until when."""

import asyncio
import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import SecretStr

from api.http.authentication import Holders, KeyUses
from core.access.authenticate import (
    find_secrets,
    find_sessions,
    holder_of,
    make_key,
    sign_in,
    sign_out,
)
from core.access.keys import (
    admin_secret,
    create_key,
    ensure_admin_key,
    revoke_key,
    revoke_other_keys,
    rotate_key,
)
from core.access.rows import Keys, Sessions
from core.audit.rows import AuditTrail
from core.audit.rules import Action, AuditFilter
from core.database.work import Transactions
from core.errors import (
    KeyNotFound,
    KeyNotLive,
    LastAdminKey,
    NameTaken,
    Unauthorised,
    UnsafeConfiguration,
)
from core.operations.maintenance import delete_expired
from core.platform import Platform
from core.principal import Principal, Role
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
    digest = sha256(secret.encode())
    found = find_secrets(platform, [digest]).get(digest)
    return found is not None and found.lets_in(digest, platform.clock())


def test_a_key_lets_its_holder_in_with_its_role(platform: Platform, scene: Scene) -> None:
    model = scene.model()
    key, secret = create_key(platform, name="ci", role=Role.OPERATOR, models=[model.name])
    digest = sha256(secret.encode())
    holder = holder_of(find_secrets(platform, [digest])[digest].key)
    assert (holder.name, holder.role, holder.key) == ("ci", Role.OPERATOR, key.id)
    assert holder.models == {model.id}
    assert secret.startswith(key.prefix or "?")
    assert not lets_in(platform, secret + "x")
    with platform.transactions(read_only=True) as work:
        assert work[Keys].get("ci") == work[Keys].get(key.id) == key
        assert {one.name for one in work[Keys].page(9, None)} == {"admin", "ci"}


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
    _, newer = rotate_key(platform, "ci", 5 * HOUR)  # which does not revive the oldest
    assert [lets_in(later(platform, HOUR), one) for one in (old, new)] == [False, True]
    _, newest = rotate_key(platform, "ci", timedelta(0))
    assert [lets_in(platform, one) for one in (old, new, newer, newest)] == [False] * 3 + [True]


def test_a_revoked_key_lets_nobody_in(platform: Platform) -> None:
    _, old = create_key(platform, name="ci", role=Role.VIEWER)
    _, new = rotate_key(platform, "ci", HOUR)
    revoke_key(platform, "ci")
    revoke_key(platform, "ci")
    assert [lets_in(platform, one) for one in (old, new)] == [False, False]
    with pytest.raises(KeyNotLive):
        rotate_key(platform, "ci")
    with pytest.raises(NameTaken):
        create_key(platform, name="ci", role=Role.VIEWER)
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


def test_former_secrets_of_the_settings_key_end_with_an_audit_event(platform: Platform) -> None:
    _, new = rotate_key(platform, "admin", HOUR)
    with pytest.raises(UnsafeConfiguration, match="rotated"):  # the one that is in the settings
        revoke_other_keys(platform)
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


def test_a_start_finds_an_admin_key_to_sign_in_by_until_none_lets_anyone_in(
    platform: Platform,
) -> None:
    assert admin_secret(platform) == sha256(GIVEN.encode())
    create_key(platform, name="ann", role=Role.OPERATOR)
    younger = later(platform, timedelta(minutes=1))
    _, secret = create_key(younger, name="bob", role=Role.ADMIN, expires_at=NOW + HOUR)
    rotate_key(platform, "admin", HOUR)  # what the settings hold ends soon
    rotated = admin_secret(platform)
    assert rotated not in {None, sha256(GIVEN.encode()), sha256(secret.encode())}
    revoke_key(platform, "admin")
    assert admin_secret(platform) == sha256(secret.encode())
    assert admin_secret(later(platform, HOUR)) is None


def holder(platform: Platform, session: str) -> Principal | None:
    digest = sha256(session.encode())
    found = find_sessions(platform, [digest, sha256(b"unknown")]).get(digest)
    return holder_of(found.secret.key) if found and found.lets_in(platform.clock()) else None


def stored(platform: Platform, session: str) -> bool:
    digest = sha256(session.encode())
    with platform.transactions(read_only=True) as work:
        return digest in work[Sessions].find_all([digest])


def test_a_session_is_its_keys_until_it_expires(platform: Platform, scene: Scene) -> None:
    model = scene.model()
    key, secret = create_key(platform, name="ann", role=Role.OPERATOR, models=[model.name])
    session, expires_at = sign_in(platform, sha256(secret.encode()))
    assert holder(platform, session) == Principal(
        name="ann", role=Role.OPERATOR, models=frozenset({model.id}), key=key.id
    )
    assert expires_at == NOW + 12 * HOUR
    assert holder(later(platform, 11 * HOUR), session) is not None
    assert holder(later(platform, 12 * HOUR), session) is None
    assert holder(platform, secret) is None
    delete_expired(later(platform, 13 * HOUR))
    assert not stored(platform, session)


def test_a_session_ends_with_the_secret_that_opened_it(platform: Platform) -> None:
    _, secret = create_key(platform, name="ann", role=Role.VIEWER, expires_at=NOW + HOUR)
    session, _ = sign_in(platform, sha256(secret.encode()))
    assert holder(later(platform, HOUR), session) is None
    _, fresh = rotate_key(platform, "ann", timedelta(minutes=9))
    assert holder(later(platform, timedelta(minutes=8)), session) is not None
    assert holder(later(platform, timedelta(minutes=9)), session) is None
    after, _ = sign_in(platform, sha256(fresh.encode()))
    assert holder(platform, after) is not None
    revoke_key(platform, "ann")
    assert holder(platform, after) is None
    with pytest.raises(Unauthorised):
        sign_in(platform, sha256(fresh.encode()))


def test_who_signs_in_and_out_is_recorded_and_a_wrong_key_leaves_nothing(
    platform: Platform,
) -> None:
    key, secret = create_key(platform, name="ann", role=Role.VIEWER)
    with pytest.raises(Unauthorised):
        sign_in(platform, sha256((secret + "x").encode()))
    session, _ = sign_in(platform, sha256(secret.encode()), request_id="req_1")
    principal = holder(platform, session)
    for _ in range(2):  # the second finds nothing to end
        sign_out(platform.on_behalf_of(principal), principal, session)
    assert holder(platform, session) is None
    with platform.transactions(read_only=True) as work:
        events = work[AuditTrail].page(3, None, AuditFilter(subject=f"api-keys/{key.id}"))
    assert [(event.change.action, event.change.actor) for event in events] == [
        (Action.SESSION_ENDED, "ann"),
        (Action.SESSION_STARTED, "ann"),
        (Action.KEY_CREATED, "service"),
    ]
    assert (events[1].change.key, events[1].change.request_id) == (key.id, "req_1")


def test_who_was_let_in_a_moment_ago_is_not_once_the_key_or_its_time_has_ended(
    platform: Platform, url: str
) -> None:
    now = [NOW]
    ours = replace(platform, clock=lambda: now[0])
    elsewhere = replace(platform, transactions=Transactions(url))  # another process
    key, secret = create_key(platform, name="ann", role=Role.VIEWER, expires_at=NOW + 2 * HOUR)
    session, _ = sign_in(platform, sha256(secret.encode()))

    async def main() -> None:
        uses = KeyUses(ours)
        holders = Holders(ours, uses)

        async def let_in() -> tuple[bool, bool]:
            found = await holders.of_key(secret), await holders.of_session(session)
            return found[0] is not None, found[1] is not None

        assert [await let_in() for _ in range(3)] == [(True, True)] * 3
        now[0] += 2 * HOUR  # nothing is committed meanwhile
        assert await let_in() == (False, False)
        now[0] = NOW
        assert await let_in() == (True, True)
        revoke_key(elsewhere, "ann")
        assert await let_in() == (False, False)
        holders.close()
        uses.close()

    asyncio.run(main())
    elsewhere.transactions.close()
    with platform.transactions(read_only=True) as work:
        assert work[Keys].last_uses([key.id]) == {key.id: NOW}
