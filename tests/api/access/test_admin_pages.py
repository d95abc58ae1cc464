"""Pages of API keys and of audit events."""

import re

import pytest

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


def lets_in(service: Service, secret: str) -> bool:
    answer = service.client.get("/v1/models", headers={"Authorization": f"Bearer {secret}"})
    return answer.status_code == 200


def test_a_key_is_made_shown_once_rotated_and_revoked(
    shared_service: Service, admin: Browser
) -> None:
    fields = {"name": "paged", "role": "contributor", "models": "demo", "expires": "2199-12-31"}
    made = admin.send("/ui/keys", **fields).text
    here, (secret,) = f"/ui/keys/{HERE.findall(made)[0]}", SECRET.findall(made)
    assert lets_in(shared_service, secret)
    for path in (here, "/ui/keys"):
        text = admin.get(path).text
        assert secret not in text
        for told in (secret[:9], "contributor", "demo", "2200-01-01 00:00"):
            assert told in text
    (rotated,) = SECRET.findall(admin.send(f"{here}/rotate", overlap="0").text)
    assert (lets_in(shared_service, secret), lets_in(shared_service, rotated)) == (False, True)
    assert admin.send(f"{here}/revoke").headers["location"] == here
    assert not lets_in(shared_service, rotated)
    assert f'action="{here}/rotate"' not in admin.get(here).text


SCRIPT = "<script>alert(4)</script>"

NUMBER = re.compile(r'<td class="n muted">(\d+)</td>')


def test_events_are_found_by_who_action_model_and_day(
    shared_service: Service, admin: Browser
) -> None:
    model = a_root(shared_service.platform, "audited")
    a_candidate(shared_service.platform, model, verdict=Verdict.INCONCLUSIVE)
    asked = {"model": "audited", "alias": "production", "version": 2, "expected_revision": 1}
    promote(shared_service.platform, TESTER, **asked, override=False, reason=SCRIPT)
    assert SCRIPT not in admin.get("/ui/audit").text
    moved = admin.get("/ui/audit?model=audited&action=alias.moved").text
    assert len(NUMBER.findall(moved)) == 1
    assert "&lt;script&gt;alert(4)" in moved
    assert 'href="/ui/models/audited"' in moved
    assert "No event matches" in admin.get("/ui/audit?until=1999-01-01").text
    for wrong in ("since=yesterday", "until=9999-12-31"):
        assert admin.get(f"/ui/audit?{wrong}").status_code == 422
