"""Pages of jobs: cancel and retry."""

from api.jobs.schemas import JobQuery
from core.jobs.orders import EvaluateOrder
from core.jobs.rules import JobStatus
from core.principal import Role
from core.registry.rows import Models
from tests.support.api.browsing import Browser, browser_of
from tests.support.api.service import Service
from tests.support.scene import Scene


def test_a_contributor_cancels_a_job_and_orders_it_again(
    shared_service: Service, line: Scene, viewer: Browser
) -> None:
    helper = browser_of(shared_service, Role.CONTRIBUTOR)
    with line.platform.transactions(read_only=True) as work:
        model = work[Models].get("line")
    job = line.order(model, EvaluateOrder(version=2))
    here = f"/ui/jobs/{job.id}"
    assert f'action="{here}/cancel"' in helper.get(here).text
    assert helper.send(f"{here}/cancel").headers["location"] == here
    assert line.job(job).status is JobStatus.CANCELLED
    assert f'action="{here}/retry"' in helper.get(here).text
    assert f'action="{here}/retry"' not in viewer.get(here).text
    again = helper.send(f"{here}/cancel")
    assert (again.status_code, "409 job_finished" in again.text) == (409, True)
    retried = helper.send(f"{here}/retry").headers["location"]
    assert retried != here
    assert f'href="{here}">an earlier try' in helper.get(retried).text
    helper.send(f"{retried}/cancel")


def test_the_form_of_the_list_has_every_filter_but_times(viewer: Browser) -> None:
    text, fields = viewer.get("/ui/jobs").text, JobQuery.model_fields.items()
    names = {field.alias or name for name, field in fields}
    for name in names - {"limit", "after", "created_since", "created_until"}:
        assert f'name="{name}"' in text, name


def test_the_list_filters_by_model_type_status_and_metadata(line: Scene, viewer: Browser) -> None:
    text = viewer.get("/ui/jobs?model=line&type=update&status=").text
    assert text.count('href="/ui/models/line/versions/2"') == 1
    assert "evaluate</a>" not in text
    assert '<option value="update" selected>' in text
    assert "No job matches." in viewer.get("/ui/jobs?status=failed").text
    assert "No job matches." in viewer.get("/ui/jobs?model=&metadata=team%3Anobody").text
    assert viewer.get("/ui/jobs?type=bogus").status_code == 422
