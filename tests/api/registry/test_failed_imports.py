"""An import that failed keeps nothing: not the model's name, and no orders that cannot start."""

from typing import Any

import pytest

from core.errors import BaseUnknown
from core.job_types.run import run_next_job
from core.jobs.rules import Monitor
from tests.support.api.image_files import picture
from tests.support.api.orders import a_dataset, update
from tests.support.api.service import Service, code_of
from tests.support.scene import Script
from tests.support.tools import tools_of


def work_on(service: Service, *, fault: Exception | None = None) -> None:
    """Have a worker run the next job; its import fails, if a fault is given."""

    def meanwhile(_: Monitor) -> None:
        if fault is not None:
            raise fault

    script = Script(service.platform, training=meanwhile)
    tools = tools_of(script)
    assert run_next_job(service.platform, tools, owner="w", stopping=lambda: False) is not None


def ordered(service: Service, **body: Any) -> Any:
    """The import of a model that was asked for."""
    answer = service.client.post("/v1/models", json={"name": "demo", **body})
    assert answer.status_code == 202, answer.text
    return answer.json()


@pytest.fixture
def failed(service: Service) -> Any:
    """The import of `demo`, which has failed; `products` could be taught."""
    a_dataset(service, "products", boot=0, bag=3)
    job = ordered(service)
    work_on(service, fault=BaseUnknown("There is no such base."))
    return service.client.get(f"/v1/jobs/{job['id']}").json()


def test_a_failed_import_frees_the_name(service: Service, failed: Any) -> None:
    policy = {"name": "kind", "alpha": 0.1}
    service.client.post("/v1/gate-policies", json=policy)
    again = ordered(service, policy="kind")
    assert (again["model"], again["status"]) == ("demo", "queued")
    work_on(service)
    model = service.client.get("/v1/models/demo").json()
    assert (model["aliases"], model["policy"]) == ({"production": 1}, "kind")
    assert [row["name"] for row in service.client.get("/v1/models").json()["data"]] == ["demo"]


def test_the_failed_job_and_its_events_stay_readable(service: Service, failed: Any) -> None:
    events = service.client.get(failed["links"]["events"]).json()
    ordered(service)
    work_on(service)
    assert service.client.get(f"/v1/jobs/{failed['id']}").json() == failed
    assert (failed["status"], failed["error"]["code"]) == ("failed", "base_unknown")
    assert service.client.get(failed["links"]["events"]).json() == events


def test_a_cancelled_import_frees_the_name_too(service: Service) -> None:
    job = ordered(service)
    service.client.post(f"/v1/jobs/{job['id']}/cancel")
    assert ordered(service)["id"] != job["id"]


def test_a_name_whose_import_is_on_its_way_or_done_is_taken(service: Service, failed: Any) -> None:
    service.client.post(f"/v1/jobs/{failed['id']}/retry")
    for _ in range(2):  # while the import waits, and after it has succeeded
        with service.untouched():
            answer = service.client.post("/v1/models", json={"name": "demo"})
        assert code_of(answer) == (409, "name_taken")
        if service.client.get("/v1/jobs?status=queued").json()["data"]:
            work_on(service)


def test_an_import_is_not_tried_again_once_the_model_has_its_root(
    service: Service, failed: Any
) -> None:
    ordered(service)
    work_on(service)
    with service.untouched():
        answer = service.client.post(f"/v1/jobs/{failed['id']}/retry")
    assert code_of(answer) == (409, "conflict")


def test_what_cannot_be_made_leaves_a_failed_model_as_it_is(service: Service, failed: Any) -> None:
    with service.untouched():
        answer = service.client.post("/v1/models", json={"name": "demo", "suites": ["none"]})
    assert code_of(answer) == (404, "suite_not_found")


def test_an_update_of_a_model_whose_import_failed_is_refused_at_once(
    service: Service, failed: Any
) -> None:
    with service.untouched():
        answer = service.client.post("/v1/jobs", json=update())
    assert code_of(answer) == (409, "import_failed")
    assert answer.json()["facts"] == {"model": "demo", "job": failed["id"]}
    files = [(name, (f"{n}.png", picture(n))) for n, name in enumerate(["cat", "dog"] * 3)]
    with service.untouched():
        start = service.client.post("/v1/models/demo/classes", files=files)
    assert code_of(start) == (409, "import_failed")


def test_an_update_may_wait_for_an_import_that_is_tried_again(
    service: Service, failed: Any
) -> None:
    service.client.post(f"/v1/jobs/{failed['id']}/retry")
    answer = service.client.post("/v1/jobs", json=update())
    assert answer.status_code == 202
    work_on(service)
    work_on(service)
    assert service.client.get(answer.headers["location"]).json()["status"] == "succeeded"


def test_an_update_that_waited_for_an_import_in_vain_is_not_tried_again(service: Service) -> None:
    a_dataset(service, "products", boot=0, bag=3)
    ordered(service)
    job = service.client.post("/v1/jobs", json=update()).json()
    work_on(service, fault=BaseUnknown())
    work_on(service)
    assert service.client.get(f"/v1/jobs/{job['id']}").json()["status"] == "failed"
    with service.untouched():
        answer = service.client.post(f"/v1/jobs/{job['id']}/retry")
    assert code_of(answer) == (409, "import_failed")
