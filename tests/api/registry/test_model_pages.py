"""Pages of models and versions."""

from core.jobs.orders import ConvertOrder
from core.jobs.queue import cancel_job
from core.jobs.rows import Jobs
from core.principal import Role
from core.registry.versions import ServingPrecision
from core.values import JobId
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


def test_a_version_is_converted_by_a_form(
    shared_service: Service, line: Scene, viewer: Browser
) -> None:
    contributor = browser_of(shared_service, Role.CONTRIBUTOR)
    page, form = f"{HERE}/versions/2", f"{HERE}/versions/2/conversion"
    assert f'action="{form}"' not in viewer.get(page).text
    shown = contributor.get(page).text
    assert f'action="{form}"' in shown
    assert "An operator promotes it." in shown
    made = [contributor.send(form, precision="bf16", key="once") for _ in range(2)]
    assert {answer.status_code for answer in made} == {303}
    (place,) = {answer.headers["location"] for answer in made}
    with shared_service.platform.transactions(read_only=True) as work:
        job = work[Jobs].get(JobId(place.rpartition("/")[2]))
    assert job.order == ConvertOrder(precision=ServingPrecision.BF16, parent=2, auto_promote=False)
    cancel_job(shared_service.platform, job.id)
    refused = contributor.send(form, precision="fp32", key="other")
    assert (refused.status_code, "computed in fp32 already" in refused.text) == (422, True)
