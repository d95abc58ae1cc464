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


def test_a_failed_import_frees_the_name_and_stays_readable(service: Service, failed: Any) -> None:
    assert (failed["status"], failed["error"]["code"]) == ("failed", "base_unknown")
    events = service.client.get(failed["links"]["events"]).json()
    with service.untouched():
        answer = service.client.post("/v1/models", json={"name": "demo", "suites": ["none"]})
    assert code_of(answer) == (404, "suite_not_found")
    service.client.post("/v1/gate-policies", json={"name": "kind", "alpha": 0.1})
    again = ordered(service, policy="kind")
    assert (again["model"], again["status"]) == ("demo", "queued")
    work_on(service)
    model = service.client.get("/v1/models/demo").json()
    assert (model["aliases"], model["policy"]) == ({"production": 1}, "kind")
    assert [row["name"] for row in service.client.get("/v1/models").json()["data"]] == ["demo"]
    assert service.client.get(f"/v1/jobs/{failed['id']}").json() == failed
    assert service.client.get(failed["links"]["events"]).json() == events
    with service.untouched():
        late = service.client.post(f"/v1/jobs/{failed['id']}/retry")
    assert code_of(late) == (409, "conflict")


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


def test_an_import_that_is_tried_again_holds_the_name_and_updates_wait_for_it(
    service: Service, failed: Any
) -> None:
    service.client.post(f"/v1/jobs/{failed['id']}/retry")
    update_ordered = service.client.post("/v1/jobs", json=update())
    assert update_ordered.status_code == 202
    for _ in range(2):  # while the import waits, and after it has succeeded
        with service.untouched():
            answer = service.client.post("/v1/models", json={"name": "demo"})
        assert code_of(answer) == (409, "name_taken")
        work_on(service)
    ended = service.client.get(update_ordered.headers["location"]).json()
    assert ended["status"] == "succeeded"
