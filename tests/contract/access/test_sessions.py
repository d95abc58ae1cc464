"""Sessions of browsers: who is let in, and until when."""

from dataclasses import replace
from datetime import timedelta

import pytest

from core.access.authenticate import authenticate_sessions, sign_in, sign_out
from core.access.keys import create_key, revoke_key, rotate_key
from core.access.rows import Sessions
from core.audit.rows import AuditTrail
from core.audit.rules import Action, AuditFilter
from core.errors import Unauthorised
from core.operations.maintenance import forget_old_traces
from core.platform import Platform
from core.principal import Principal, Role
from core.values import sha256
from tests.support.factories import NOW
from tests.support.scene import Scene

HOUR = timedelta(hours=1)


@pytest.fixture
def platform(scene: Scene) -> Platform:
    """A platform whose sessions last for 12 hours."""
    return replace(scene.platform, clock=lambda: NOW)


def later(platform: Platform, by: timedelta) -> Platform:
    return replace(platform, clock=lambda: NOW + by)


def holder(platform: Platform, session: str) -> Principal | None:
    return authenticate_sessions(platform, [session, "unknown"]).get(session)


def stored(platform: Platform, session: str) -> bool:
    digest = sha256(session.encode())
    with platform.transactions(read_only=True) as work:
        return digest in work[Sessions].find_all([digest])


def test_a_session_is_its_keys_until_it_expires(platform: Platform, scene: Scene) -> None:
    model = scene.model()
    key, secret = create_key(platform, name="ann", role=Role.OPERATOR, models=[model.name])
    session, expires_at = sign_in(platform, secret)
    assert holder(platform, session) == Principal(
        name="ann", role=Role.OPERATOR, models=frozenset({model.id}), key=key.id
    )
    assert expires_at == NOW + 12 * HOUR
    assert holder(later(platform, 11 * HOUR), session) is not None
    assert holder(later(platform, 12 * HOUR), session) is None
    assert holder(platform, secret) is None
    forget_old_traces(later(platform, 13 * HOUR))
    assert not stored(platform, session)


def test_a_session_ends_with_the_secret_that_opened_it(platform: Platform) -> None:
    _, secret = create_key(platform, name="ann", role=Role.VIEWER, expires_at=NOW + HOUR)
    session, _ = sign_in(platform, secret)
    assert holder(later(platform, HOUR), session) is None
    _, fresh = rotate_key(platform, "ann", timedelta(minutes=9))
    assert holder(later(platform, timedelta(minutes=8)), session) is not None
    assert holder(later(platform, timedelta(minutes=9)), session) is None
    after, _ = sign_in(platform, fresh)
    assert holder(platform, after) is not None
    revoke_key(platform, "ann")
    assert holder(platform, after) is None
    with pytest.raises(Unauthorised):
        sign_in(platform, fresh)


def test_who_signs_in_and_out_is_recorded_and_a_wrong_key_leaves_nothing(
    platform: Platform,
) -> None:
    key, secret = create_key(platform, name="ann", role=Role.VIEWER)
    with pytest.raises(Unauthorised):
        sign_in(platform, secret + "x")
    session, _ = sign_in(platform, secret, request_id="req_1")
    principal = holder(platform, session)
    assert principal is not None
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
