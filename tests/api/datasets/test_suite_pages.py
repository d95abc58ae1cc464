"""The page of all suites and gate policies."""

import pytest

from core.gate.policies import create_policy
from core.principal import Role
from core.registry.configure import configure_model
from tests.support.api.browsing import Browser, browser_of
from tests.support.api.seeds import a_root
from tests.support.api.service import Service
from tests.support.factories import a_policy
from tests.support.scene import Scene

HERE = "/ui/suites"


@pytest.fixture(scope="module")
def strict(shared_service: Service) -> str:
    """The name of a policy that judges the model `watched`."""
    a_root(shared_service.platform, "watched")
    made = a_policy(name="strict", root_tolerance=0.011, line_error=0.05, reason="<b>many</b>")
    create_policy(shared_service.platform, made)
    configure_model(shared_service.platform, "watched", suites=None, policy="strict")
    return made.name


def test_everyone_reads_suites_policies_and_what_they_judge(
    shared_service: Service, line: Scene, strict: str, viewer: Browser
) -> None:
    assert "There are no more suites" in viewer.get(f"{HERE}?suites_after=suite_z").text
    text = viewer.get(HERE).text
    assert f'<a href="{HERE}" aria-current="page">Suites</a>' in text
    assert "<b>easy</b>" in text.replace("<bdi>", "").replace("</bdi>", "")
    assert '<a href="/ui/models/line/policy">line</a>' in text
    assert '<a href="/ui/models/watched/policy">watched</a>' in text
    assert "1.1" in text
    assert ("<b>many</b>" in text, "&lt;b&gt;many" in text) == (False, True)
    assert f'href="{HERE}"' in viewer.get("/ui/models/watched").text
    limited = browser_of(shared_service, Role.VIEWER, "watched").get(HERE).text
    assert "/ui/models/watched/policy" in limited
    assert "/ui/models/line/policy" not in limited
