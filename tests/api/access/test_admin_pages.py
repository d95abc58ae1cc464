"""Pages of API keys and of audit events."""

import re
from datetime import timedelta

import pytest

from core.access.keys import create_key, revoke_key
from core.access.rows import Keys
from core.gate.rules import Verdict
from core.principal import Role
from core.registry.promote import promote
from tests.support.api.browsing import Browser, browser_of
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import Service
from tests.support.factories import TESTER

SECRET = re.compile(r"<code>(pk_[\w-]{20,})</code>")

HERE = re.compile(r"/ui/keys/(key_\w+)/rotate")


@pytest.fixture(scope="module")
def admin(shared_service: Service) -> Browser:
    return browser_of(shared_service, Role.ADMIN)


def made(admin: Browser, **fields: str) -> tuple[str, str]:
    """The address and the secret of a new key."""
    answer = admin.send("/ui/keys", **{"role": "viewer", "models": "", "expires": ""} | fields)
    assert answer.status_code == 200, answer.text
    here, secret = HERE.search(answer.text), SECRET.search(answer.text)
    assert here
    assert secret
    return f"/ui/keys/{here[1]}", secret[1]


def lets_in(service: Service, secret: str) -> bool:
    answer = service.client.get("/v1/models", headers={"Authorization": f"Bearer {secret}"})
    return answer.status_code == 200


def test_a_key_is_made_shown_once_rotated_and_revoked(
    shared_service: Service, admin: Browser
) -> None:
    here, secret = made(
        admin, name="paged", role="contributor", models="demo", expires="2199-12-31"
    )
    assert lets_in(shared_service, secret)
    for path in (here, "/ui/keys"):
        text = admin.get(path).text
        assert secret not in text
        assert f"{secret[:9]}" in text
        assert "contributor" in text
        assert "demo" in text
        assert "2200-01-01 00:00" in text
    assert "<dt>Last use</dt><dd>none known" in admin.get(here).text
    with shared_service.platform.transactions() as work:
        used_at = shared_service.platform.clock() - timedelta(hours=3)
        work[Keys].note_uses({work[Keys].get("paged").id: used_at})
        work.commit()
    for path in (here, "/ui/keys"):
        assert f'datetime="{used_at.isoformat()}"' in admin.get(path).text
    rotated = SECRET.search(admin.send(f"{here}/rotate", overlap="0").text)
    assert rotated
    assert (lets_in(shared_service, secret), lets_in(shared_service, rotated[1])) == (False, True)
    assert admin.send(f"{here}/revoke").headers["location"] == here
    assert not lets_in(shared_service, rotated[1])
    ended = admin.get(here).text
    assert "revoked" in ended
    assert f'action="{here}/rotate"' not in ended
    late = admin.send(f"{here}/rotate", overlap="1")
    assert (late.status_code, "key_not_live" in late.text) == (409, True)


SCRIPT = "<script>alert(4)</script>"

NUMBER = re.compile(r'<td class="n muted">(\d+)</td>')


def test_events_are_found_by_who_action_model_and_day(
    shared_service: Service, admin: Browser
) -> None:
    model = a_root(shared_service.platform, "audited")
    a_candidate(shared_service.platform, model, verdict=Verdict.INCONCLUSIVE)
    asked = {"model": "audited", "alias": "production", "version": 2, "expected_revision": 1}
    promote(shared_service.platform, TESTER, **asked, override=False, reason=SCRIPT)
    create_key(shared_service.platform, name="found-by-audit", role=Role.VIEWER)
    revoke_key(shared_service.platform, "found-by-audit")
    every = admin.get("/ui/audit").text
    assert "found-by-audit" in every  # in what it was changed from
    assert SCRIPT not in every
    moved = admin.get("/ui/audit?model=audited&action=alias.moved").text
    assert len(NUMBER.findall(moved)) == 1
    assert "&lt;script&gt;alert(4)" in moved
    assert 'href="/ui/models/audited"' in moved
    assert "No event matches" in admin.get("/ui/audit?actor=nobody").text
    assert "No event matches" in admin.get("/ui/audit?until=1999-01-01").text
    assert NUMBER.findall(admin.get("/ui/audit?since=1999-01-01&until=&actor=").text)
    for wrong in ("since=yesterday", "until=9999-12-31", "after=x", "bogus=1"):
        assert admin.get(f"/ui/audit?{wrong}").status_code == 422
