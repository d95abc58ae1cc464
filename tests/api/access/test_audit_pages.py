"""The page of audit events."""

import re

import pytest

from core.access.keys import create_key, revoke_key
from core.audit.rows import AuditTrail
from core.database.tables import audit_events
from core.database.work import Work
from core.gate.rules import Verdict
from core.principal import Role
from core.registry.promote import promote
from tests.support.api.browsing import Browser, browser_of
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import Service
from tests.support.factories import TESTER

SCRIPT = "<script>alert(4)</script>"

NUMBER = re.compile(r'<td class="n muted">(\d+)</td>')


@pytest.fixture(scope="module")
def admin(shared_service: Service) -> Browser:
    model = a_root(shared_service.platform, "audited")
    a_candidate(shared_service.platform, model, verdict=Verdict.INCONCLUSIVE)
    promote(
        shared_service.platform,
        TESTER,
        model="audited",
        alias="production",
        version=2,
        expected_revision=1,
        override=False,
        reason=SCRIPT,
    )
    return browser_of(shared_service, Role.ADMIN)


def test_events_are_found_by_who_action_model_and_day(
    shared_service: Service, admin: Browser
) -> None:
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


def test_older_events_are_on_further_pages(shared_service: Service, admin: Browser) -> None:
    for number in range(21):
        create_key(shared_service.platform, name=f"many-{number}", role=Role.VIEWER)
        revoke_key(shared_service.platform, f"many-{number}")
    first = admin.get("/ui/audit").text
    older = re.search(r'href="(/ui/audit\?after=\d+)"', first)
    assert older
    numbers = [*map(int, NUMBER.findall(first + admin.get(older[1]).text))]
    assert numbers == [*range(numbers[0], numbers[-1] - 1, -1)]
    assert len(numbers) > 40


def test_the_page_says_whether_the_chain_holds(shared_service: Service, admin: Browser) -> None:
    assert 'hx-get="/ui/audit/chain" hx-trigger="load"' in admin.get("/ui/audit").text
    part = admin.get("/ui/audit/chain", HX_Request="true").text
    assert "The chain holds." in part
    assert "<html" not in part
    with shared_service.platform.transactions(read_only=True) as work:
        third = work[AuditTrail].between(2, 3, 1)[0].change.reason
    rewrite(shared_service, 3, "forged")
    broken = admin.get("/ui/audit/chain").text
    rewrite(shared_service, 3, third)
    assert "The chain is broken at event 3:" in broken
    assert "The chain holds." in admin.get("/ui/audit/chain").text


def rewrite(service: Service, number: int, reason: str) -> None:
    """Change an event behind the service's back."""
    with service.platform.transactions() as work:
        assert isinstance(work, Work)
        assert work._connection is not None
        event = audit_events.c.sequence == number
        work._connection.execute(audit_events.update().where(event).values(reason=reason))
        work.commit()


def test_only_an_admin_is_shown_administration(admin: Browser, operator: Browser) -> None:
    for path in ("/ui/audit", "/ui/keys", "/ui/webhooks"):
        assert f'href="{path}"' in admin.get("/ui").text
        assert f'href="{path}"' not in operator.get("/ui").text
