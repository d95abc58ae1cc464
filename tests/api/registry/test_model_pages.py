"""Pages of models and versions."""

from core.principal import Role
from core.registry.rows import Models, Versions
from tests.support.api.browsing import SCRIPT, Browser, browser_of
from tests.support.api.service import Service
from tests.support.scene import Scene

HERE = "/ui/models/line"


def test_the_first_page_says_what_is_live_and_who_moved_it(line: Scene, viewer: Browser) -> None:
    text = viewer.get("/ui").text
    row = text.split('href="/ui/models/line"')[1].split("</tr>")[0]
    assert '<span class="alias">1</span>' in row
    assert "import" in row
    assert "imported" in row
    assert f"{HERE}/versions/2" in row
    assert "not live" in row


def test_a_model_shows_its_line_with_gain_and_loss(line: Scene, viewer: Browser) -> None:
    text = viewer.get(HERE).text
    assert 'aria-label="version 1, root, production"' in text
    assert 'aria-label="version 2, failed' in text or 'aria-label="version 2, inconclusive' in text
    assert text.count('class="gain"') == text.count('class="loss"') == 1
    assert "largest loss: easy, against parent" in text
    assert "&lt;script&gt;alert(1)" in text
    assert SCRIPT not in text
    older = viewer.get(f"{HERE}?before=2").text
    assert "Newest versions" in older
    assert f'{HERE}/versions/2"' not in older
    assert "perennial teach FOLDER --model demo --wait" in viewer.get("/ui/models/demo").text


def test_a_version_shows_its_verdict_with_reasons_and_intervals(
    line: Scene, viewer: Browser
) -> None:
    text = viewer.get(f"{HERE}/versions/2").text
    with line.platform.transactions(read_only=True) as work:
        version = work[Versions].get(work[Models].get("line").id, 2)
    assert "Measures against tolerance" in text
    assert text.count("<li>") == len(line.report(version)["reasons"])
    assert "&lt;script&gt;alert(1)" in text
    assert SCRIPT not in text
    root = viewer.get(f"{HERE}/versions/1").text
    assert "root" in root
    assert "perennial evaluate" not in root
    whole = viewer.get(f"{HERE}/versions/2/report")
    assert "script-src" not in whole.headers["content-security-policy"]
    assert "Forgetting report" in whole.text
    assert viewer.get(f"{HERE}/versions/1/report").status_code == 404


def test_models_that_a_key_is_not_for_are_not_there(shared_service: Service, line: Scene) -> None:
    other = browser_of(shared_service, Role.OPERATOR, "demo")
    assert "line" not in other.get("/ui").text.split("<main")[1]
    for path in (HERE, f"{HERE}/versions/2", f"{HERE}/versions/2/report", "/ui/jobs?model=line"):
        answer = other.get(path)
        assert answer.status_code == 404
        assert "model_not_found" in answer.text
