"""The page of a map of embeddings, and the same as JSON."""

import re

import pytest
from sqlalchemy import update

from core.database.tables import jobs
from core.database.work import Work
from core.jobs.rules import JobStatus
from core.principal import Role
from tests.support.api.browsing import SCRIPT, Browser, browser_of
from tests.support.api.seeds import a_candidate
from tests.support.api.service import Service
from tests.support.scene import Scene

HERE = "/ui/models/mapped/map"


@pytest.fixture(scope="module")
def scene(shared_service: Service) -> Scene:
    """A model with two versions and a suite with a class that is named by a script."""
    made = Scene(shared_service.platform.transactions, shared_service.platform.artifacts)
    model = made.model("mapped")
    a_candidate(shared_service.platform, model)
    a_candidate(shared_service.platform, model)
    made.suite(model, made.frozen("hat", SCRIPT, each=40, offset=900, forms=1000), name="shown")
    return made


def put_first(service: Service, job: str) -> None:
    """Let a worker run a job before those that other tests have left."""
    with service.platform.transactions() as work:
        assert isinstance(work, Work)
        assert work._connection is not None
        work._connection.execute(update(jobs).where(jobs.c.id == job).values(priority=9))
        work.commit()


def test_a_map_shows_both_versions_on_a_page_and_as_json(
    shared_service: Service, scene: Scene, viewer: Browser
) -> None:
    missing = viewer.get(f"{HERE}?now=2").text
    assert "perennial compatibility mapped:2 --from mapped:1 --wait" in missing
    assert "<button>Order it" not in missing
    contributor = browser_of(shared_service, Role.CONTRIBUTOR)
    ordered = contributor.send(HERE, before="1", now="2")
    assert ordered.headers["location"].startswith("/ui/jobs/job_")
    put_first(shared_service, ordered.headers["location"].rpartition("/")[2])
    assert scene.run().status is JobStatus.SUCCEEDED
    path = "/v1/models/mapped/versions/2/compatibility/1/map"
    found = shared_service.client.get(path, headers=shared_service.key(Role.VIEWER)).json()
    (shown,) = found["data"]
    assert (found["version"], found["from"], shown["suite"]) == (2, 1, "shown")
    assert shown["count"] == len(shown["images"]) > 50
    text = viewer.get(f"{HERE}?now=2&before=").text
    assert f"Embeddings of {shown['count']} images of shown by version 1, left" in text
    points = re.findall(r'<path d="(M[^"]+)" class="point hue\d">', text)
    assert len(points) == 4 + 2  # of each class by each version, and the legend
    assert sum(one.count("M") for one in points) == 2 * shown["count"] + 2
    assert text.count("&lt;script&gt;alert(1)") >= 4
    assert SCRIPT not in text
    with shared_service.untouched():
        refused = contributor.send(HERE, before="9", now="2")
    assert (refused.status_code, "version_not_found" in refused.text) == (404, True)
