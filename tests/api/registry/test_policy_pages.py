"""Pages of what judges a model, and the way to change it."""

import re

import pytest

from core.audit.rows import AuditTrail
from core.audit.rules import AuditFilter
from core.gate.policies import create_policy
from core.principal import Role
from core.registry.configure import configure_model
from tests.support.api.browsing import Browser, browser_of
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import Service
from tests.support.evaluation.evaluations import learned, policy, report_of, second_update
from tests.support.factories import a_policy
from tests.support.scene import Scene

FIELD = re.compile(r'<input id="(\w+)" name="\w+" [^>]*value="([^"]*)"')

HERE = "/ui/models/judged/policy"


@pytest.fixture(scope="module")
def admin(shared_service: Service) -> Browser:
    """An administrator; the model `judged` has a version with a budget and a report."""
    model = a_root(shared_service.platform, "judged")
    budgeted = a_policy(name="budgeted", line_error=0.05, reason="many updates <3")
    create_policy(shared_service.platform, budgeted)
    configure_model(
        shared_service.platform, "judged", suites=None, policy="budgeted", reason="a test"
    )
    plan = second_update(policy=policy(name="budgeted", line_error=0.05, minimum_count=5))
    found = report_of(plan, learned)
    a_candidate(shared_service.platform, model, verdict=found.verdict, report=found)
    return browser_of(shared_service, Role.ADMIN)


def form(admin: Browser, **changes: str) -> dict[str, str]:
    """The fields of the form as they are shown, with changes."""
    text = admin.get(f"{HERE}/change").text
    areas = dict(re.findall(r'<textarea id="(same_names|suites)"[^>]*>([^<]*)<', text))
    return dict(FIELD.findall(text)) | areas | changes


def seen(text: str) -> str:
    found = re.search(r'name="seen" value="([^"]+)"', text)
    assert found
    return found[1]


def test_a_viewer_reads_limits_suites_and_budget(
    admin: Browser, line: Scene, viewer: Browser
) -> None:
    text = viewer.get(HERE).text
    assert "many updates &lt;3" in text
    assert "For the next verdict" in text
    assert "No suite guards this model" in text
    assert "/change" not in text
    assert f'href="{HERE}/change"' in admin.get(HERE).text
    other = viewer.get("/ui/models/line/policy").text
    assert "too few images to let a version pass" in other
    assert "can show a loss on 0 distinct test images." in other
    assert "no version passes by itself until there are 35." in other
    assert "This policy has no error budget" in other


def test_a_change_is_shown_first_and_takes_a_reason(
    shared_service: Service, admin: Browser
) -> None:
    fields = form(admin, parent_tolerance="1.5", wanted_gain="100", name="strict", line_error="")
    with shared_service.untouched():
        shown = admin.send(f"{HERE}/change/preview", **fields)
        assert shown.status_code == 200, shown.text
    assert "<td>3 points</td><td><b>1.5 points</b></td>" in shown.text
    assert "<td>5 %</td><td><b>no budget</b></td>" in shown.text
    assert 'class="tag inconclusive">inconclusive</span> under the new one' in shown.text
    fields |= {"seen": seen(shown.text)}
    with shared_service.untouched():
        refused = admin.send(f"{HERE}/change", **fields, reason="")
        assert (refused.status_code, "Enter a reason" in refused.text) == (422, True)
        other = admin.send(f"{HERE}/change", **fields | {"seen": "gate_x"}, reason="because")
        assert (other.status_code, "Somebody else" in other.text) == (422, True)
    done = admin.send(f"{HERE}/change", **fields, reason="less may be lost")
    assert (done.status_code, done.headers["location"]) == (303, HERE)
    text = admin.get(HERE).text
    assert "Policy strict" in text
    assert "less may be lost" in text
    with shared_service.platform.transactions(read_only=True) as work:
        (event,) = work[AuditTrail].page(1, None, AuditFilter(subject="models/judged"))
    assert event.change.reason == "less may be lost"
    assert event.change.after == {"suites": [], "policy": "strict"}
    again = admin.send(f"{HERE}/change/preview", **form(admin))
    assert (again.status_code, "Nothing would change" in again.text) == (422, True)


def test_names_that_mean_the_same_stay_in_the_policy_until_somebody_takes_them_out(
    shared_service: Service, admin: Browser
) -> None:
    for changes, told in (
        ({"same_names": "bag = handbag\r\n\r\nshoe=boot"}, "<b>bag = handbag, shoe = boot</b>"),
        ({"root_tolerance": "7"}, "<b>7 points</b>"),
        ({"same_names": "shoe = boot"}, "<b>shoe = boot</b>"),
    ):
        fields = form(admin, name=f"names-{len(told)}", **changes)
        shown = admin.send(f"{HERE}/change/preview", **fields)
        assert told in shown.text
        fields |= {"seen": seen(shown.text), "reason": "they mean the same"}
        assert admin.send(f"{HERE}/change", **fields).status_code == 303
    assert "<b>shoe = boot</b>" in admin.get(HERE).text
    with shared_service.untouched():
        for wrong, words in (
            ("bag", "two in a line"),
            ("bag = ", "two in a line"),
            ("bag = handbag = purse", "two in a line"),
            ("bag = Bag", "are one name already"),
            (f"bag = {'b' * 101}", "class_invalid"),
        ):
            refused = admin.send(f"{HERE}/change/preview", **form(admin, same_names=wrong))
            assert (refused.status_code, words in refused.text) == (422, True), wrong


def test_limits_out_of_bounds_are_refused(shared_service: Service, admin: Browser) -> None:
    wrong = [
        ("parent_tolerance", "101", 422, "from 0 to 100 points"),
        ("alpha", "0", 422, "above 0, at most 20 %"),
        ("minimum_count", "0", 422, "from 1 to 1,000,000 test images"),
        ("parent_tolerance", "lots", 422, "percentage"),
        ("minimum_count", "", 422, "whole number"),
        ("suites", "nothing-like-it", 404, "suite_not_found"),
    ]
    fields = form(admin)
    with shared_service.untouched():
        for name, value, status, words in wrong:
            refused = admin.send(f"{HERE}/change/preview", **fields | {name: value})
            assert (refused.status_code, words in refused.text) == (status, True), name
        shown = admin.send(f"{HERE}/change/preview", **fields | {"root_tolerance": "2"})
        taken = fields | {"root_tolerance": "2", "name": "default", "seen": seen(shown.text)}
        answer = admin.send(f"{HERE}/change", **taken, reason="the name is taken")
        assert (answer.status_code, "name_taken" in answer.text) == (409, True), answer.text
