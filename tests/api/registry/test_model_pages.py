"""Pages of models and versions."""

from core.principal import Role
from tests.support.api.browsing import SCRIPT, Browser, browser_of
from tests.support.api.service import Service
from tests.support.scene import Scene

HERE = "/ui/models/line"


def test_a_model_shows_its_line_with_gain_and_loss(line: Scene, viewer: Browser) -> None:
    text = viewer.get(HERE).text
    assert 'aria-label="version 1, root, production"' in text
    assert 'aria-label="version 2, failed' in text or 'aria-label="version 2, inconclusive' in text
    assert text.count('class="gain"') == text.count('class="loss"') == 1
    assert "largest loss: easy · top-1, against parent" in text
    assert "&lt;script&gt;alert(1)" in text
    assert SCRIPT not in text
    assert f'{HERE}/versions/2"' not in viewer.get(f"{HERE}?before=2").text
    version = viewer.get(f"{HERE}/versions/2").text
    assert "Measures against tolerance" in version
    assert "&lt;script&gt;alert(1)" in version
    assert SCRIPT not in version
    whole = viewer.get(f"{HERE}/versions/2/report")
    assert "script-src" not in whole.headers["content-security-policy"]
    assert "Forgetting report" in whole.text
    root = viewer.get(f"{HERE}/versions/1/report")
    assert (root.status_code, "Version 1 is the root: the base as it was" in root.text) == (
        404,
        True,
    )
    assert "Version 1 is the root" in viewer.get(f"{HERE}/versions/1").text


def test_models_that_a_key_is_not_for_are_not_there(shared_service: Service, line: Scene) -> None:
    other = browser_of(shared_service, Role.OPERATOR, "demo")
    assert "line" not in other.get("/ui").text.split("<main")[1]
    for path in (HERE, f"{HERE}/versions/2", f"{HERE}/versions/2/report", "/ui/jobs?model=line"):
        answer = other.get(path)
        assert answer.status_code == 404
        assert "model_not_found" in answer.text
