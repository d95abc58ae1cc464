"""Pages that promote and roll back."""

import re

import pytest

from core.gate.rules import Verdict
from core.indexes.keep import Filled, clear_version, create_index, record_filling
from core.indexes.rules import IndexMethod, IndexStore
from core.principal import Role
from core.registry.version_rows import Versions
from tests.support.api.browsing import Browser, browser_of
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import Service

SCRIPT = "<script>alert(2)</script>"


@pytest.fixture(scope="module")
def here(shared_service: Service) -> str:
    """The address of a model with an inconclusive version 2 and a failed version 3."""
    model = a_root(shared_service.platform, "moved")
    a_candidate(shared_service.platform, model, verdict=Verdict.INCONCLUSIVE, teaches=("hat",))
    a_candidate(shared_service.platform, model, verdict=Verdict.FAILED)
    return "/ui/models/moved"


def move_of(browser: Browser, path: str, **changes: str) -> dict[str, str]:
    """The fields of the form at a path, as a browser sends them."""
    text = browser.get(path).text
    fields = dict(re.findall(r'name="(version|revision|decided_on)" value="(\w+)"', text))
    return fields | changes


def live(browser: Browser, here: str) -> str:
    found = re.search(r"is <a href=\"[^\"]+\">version (\d)</a>", browser.get(here).text)
    assert found
    return found[1]


def test_a_promotion_takes_a_reason_and_can_be_rolled_back(
    shared_service: Service, here: str, operator: Browser, viewer: Browser
) -> None:
    promotion = f"{here}/aliases/production/promotion"
    link = f'href="{promotion}?version=2"'
    assert link in operator.get(f"{here}/versions/2").text
    assert link not in viewer.get(f"{here}/versions/2").text
    fields = move_of(operator, f"{promotion}?version=2")
    assert fields | {"version": "2", "revision": "1"} == fields
    assert fields.keys() == {"version", "revision", "decided_on"}
    with shared_service.untouched():
        for reason, words in (("", "Enter a reason"), ("a" * 501, "500 characters")):
            refused = operator.send(promotion, **fields, reason=reason)
            assert (refused.status_code, words in refused.text) == (422, True)
    done = operator.send(promotion, **fields, reason=f"looked at it {SCRIPT}")
    assert (done.status_code, done.headers["location"]) == (303, f"{here}?moved=production")
    text = operator.get(done.headers["location"]).text
    assert "production is now version 2" in text
    assert SCRIPT not in text
    assert live(viewer, here) == "2"
    back = f"{here}/aliases/production/rollback"
    assert f'href="{back}"' in text
    assert f'href="{back}"' not in viewer.get(here).text
    assert "has learned and this one has not: hat." in operator.get(back).text
    fields = move_of(operator, back)
    assert fields == {"version": "1", "revision": "2"}
    assert operator.send(back, **fields, reason="").status_code == 422
    assert operator.send(back, **fields, reason="worse").status_code == 303
    assert live(viewer, here) == "1"


def test_the_second_of_two_sees_what_the_first_has_done(
    shared_service: Service, here: str, operator: Browser
) -> None:
    second = browser_of(shared_service, Role.OPERATOR)
    promotion = f"{here}/aliases/production/promotion"
    seen = move_of(second, f"{promotion}?version=2")
    another = seen | {"version": "3"}
    first = move_of(operator, f"{promotion}?version=2")
    assert operator.send(promotion, **first, reason=f"first {SCRIPT}").status_code == 303
    late = second.send(promotion, **seen, reason="mine too")
    assert late.status_code == 412
    assert "Nothing was moved" in late.text
    assert "first &lt;script&gt;alert(2)" in late.text
    assert SCRIPT not in late.text
    assert "is production already" in late.text
    late = second.send(promotion, **another, reason="I have read the report")
    assert (late.status_code, "I have read the report</textarea>" in late.text) == (412, True)
    back = f"{here}/aliases/production/rollback"
    operator.send(back, **move_of(operator, back, reason="for the next test"))


def test_a_form_that_has_shown_another_verdict_promotes_nothing(
    shared_service: Service, here: str, operator: Browser
) -> None:
    promotion = f"{here}/aliases/production/promotion"
    fields = move_of(operator, f"{promotion}?version=2", reason="it passed")
    with shared_service.untouched():
        late = operator.send(promotion, **fields | {"decided_on": "0" * 64})
    assert (late.status_code, "stale_preview" in late.text) == (412, True)
    assert fields["decided_on"] in late.text


def test_what_the_gate_refuses_takes_an_administrator(
    shared_service: Service, here: str, operator: Browser
) -> None:
    promotion = f"{here}/aliases/production/promotion"
    admin = browser_of(shared_service, Role.ADMIN)
    fields = move_of(admin, f"{promotion}?version=3", reason="I like it")
    with shared_service.untouched():
        refused = operator.send(promotion, **fields)
        assert (refused.status_code, "gate_failed" in refused.text) == (409, True)
        forced = operator.send(promotion, **fields, override="yes")
        assert (forced.status_code, "takes at least the role admin" in forced.text) == (403, True)
        assert "I like it</textarea>" in forced.text
    done = admin.send(promotion, **fields, override="yes")
    assert done.status_code == 303
    assert "override" in admin.get(here).text


def test_an_override_is_offered_where_the_gate_refuses_and_the_role_suffices(
    shared_service: Service, operator: Browser
) -> None:
    model = a_root(shared_service.platform, "offered")
    for verdict in (Verdict.PASSED, Verdict.FAILED, None):
        a_candidate(shared_service.platform, model, verdict=verdict)
    admin = browser_of(shared_service, Role.ADMIN)
    here = "/ui/models/offered"
    promotion = f"{here}/aliases/production/promotion?version="
    for browser, number, button, form, override in (
        (operator, 2, "Promote…", True, False),
        (admin, 2, "Promote…", True, False),
        (operator, 3, None, False, False),
        (admin, 3, "Promote by override…", True, True),
        (admin, 4, None, False, False),  # not yet judged, which no override mends
    ):
        version = browser.get(f"{here}/versions/{number}").text
        asked = browser.get(f"{promotion}{number}").text
        assert (f"{button}</a>" in version) is (button is not None)
        assert (f"{promotion}{number}" in version) is (button is not None)
        assert ('name="reason"' in asked, 'name="override"' in asked) == (form, override)
    told = operator.get(f"{promotion}3").text
    assert "Somebody with the role admin may promote it all the same" in told
    assert "may promote it all the same" not in admin.get(f"{promotion}4").text
    fields = move_of(operator, f"{promotion}2", reason="it passed")
    operator.send(promotion.removesuffix("?version="), **fields)
    before = operator.get(f"{here}/versions/1").text  # which was live before
    assert ("Roll back to it…</a>" in before, f"{promotion}1" in before) == (True, False)
    assert "Roll back to it" not in operator.get(f"{here}/versions/2").text


def test_an_operator_may_move_an_alias_before_its_index_has_vectors(
    shared_service: Service, operator: Browser, viewer: Browser
) -> None:
    platform = shared_service.platform
    model, here = a_root(platform, "indexed"), "/ui/models/indexed"
    a_candidate(platform, model, verdict=Verdict.PASSED)
    index = {"model": "indexed", "name": "shop"}
    kept = {"alias": "production", "store": IndexStore.QDRANT, "dataset": None, "allowed_loss": 0.0}
    create_index(platform, **index, **kept)

    def fill(version: int) -> None:
        with platform.transactions(read_only=True) as work:
            digest = work[Versions].get(model.id, version).digest
        made = {"method": IndexMethod.EMBEDDED, "baseline": None, "rows": 3, "total": 3}
        filled = Filled(digest=digest, **made, complete=True)
        record_filling(platform, **index, version=version, filled=filled)

    fill(1)
    assert "Promote by override…</a>" in operator.get(f"{here}/versions/2").text
    promotion, rollback = (f"{here}/aliases/production/{one}" for one in ("promotion", "rollback"))
    asked = f"{promotion}?version=2"
    told = operator.get(asked).text
    assert "<code>index_not_ready</code>" in told
    assert "its searches stay with the version that they have" in told
    fields = move_of(operator, asked, reason="the live one is wrong")
    with shared_service.untouched():
        assert operator.send(promotion, **fields).status_code == 409
    assert operator.send(promotion, **fields, override="yes").status_code == 303
    assert live(viewer, here) == "2"
    assert 'name="override"' not in operator.get(rollback).text  # its vectors are there
    clear_version(platform, **index, version=1)
    fill(2)
    assert "<code>index_not_ready</code>" in operator.get(rollback).text
    fields = move_of(operator, rollback, reason="worse still")
    with shared_service.untouched():
        assert operator.send(rollback, **fields).status_code == 409
    assert operator.send(rollback, **fields, override="yes").status_code == 303
    assert live(viewer, here) == "1"


def test_a_promotion_that_would_be_refused_says_so_beforehand(
    shared_service: Service, operator: Browser
) -> None:
    model = a_root(shared_service.platform, "foreseen")
    passed = a_candidate(shared_service.platform, model, verdict=Verdict.PASSED)
    a_candidate(shared_service.platform, model, verdict=Verdict.FAILED)
    here = "/ui/models/foreseen/aliases"
    staging = f"{here}/staging/promotion"
    fields = move_of(operator, f"{staging}?version={passed.number}", reason="try it there")
    assert operator.send(staging, **fields).status_code == 303
    beside = a_candidate(shared_service.platform, model, verdict=Verdict.PASSED, teaches=("owl",))
    words = "As things are, this will be refused"
    with shared_service.untouched():
        stale = operator.get(f"{staging}?version={beside.number}").text
        failed = operator.get(f"{staging}?version={passed.number + 1}").text
        fresh = operator.get(f"{here}/other/promotion?version={passed.number}").text
    assert f"{words} (<code>evaluation_stale</code>)" in stale
    assert f"perennial evaluate foreseen:{beside.number} --alias staging --wait" in stale
    assert "Score it again, or override the gate with a reason" in stale
    assert "/v1/jobs" not in stale
    scoring = f"/ui/models/foreseen/versions/{beside.number}/scoring"
    assert f'action="{scoring}"' in stale
    assert f'action="{scoring}"' not in failed
    ordered = operator.send(scoring, alias="staging", key="one")
    assert (ordered.status_code, "/ui/jobs/" in ordered.headers["location"]) == (303, True)
    assert f"{words} (<code>gate_failed</code>)" in failed
    assert words not in fresh
