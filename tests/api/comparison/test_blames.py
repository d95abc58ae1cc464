"""Blames over HTTP: ordered as a job, and read as JSON and CSV."""

import csv
import io
from typing import Any

import pytest

from core.jobs.rules import JobStatus
from tests.support.api.service import EMBEDDED, Service, code_of
from tests.support.evaluation.blamed import BAD, EACH, Blamed, a_blamed_model
from tests.support.scene import Scene

pytestmark = EMBEDDED  # tests/contract/blame reads both databases

ORDER = {"type": "blame", "model": "demo", "version": 2, "class": "cat"}

ASKED = {"version": 2, "class": "cat", "by": "upload", "groups": 5, "suite": None}


@pytest.fixture
def blamed(service: Service, monkeypatch: pytest.MonkeyPatch) -> Blamed:
    scene = Scene(service.platform.transactions, service.platform.artifacts)
    return a_blamed_model(scene, monkeypatch)


def order(service: Service, **changes: Any) -> Any:
    return service.client.post("/v1/jobs", json=ORDER | changes)


def test_a_blame_is_ordered_followed_and_read(service: Service, blamed: Blamed) -> None:
    client = service.client
    accepted = order(service, priority=3, metadata={"for": "shop"})
    job = accepted.json()
    path = f"/v1/jobs/{job['id']}"
    assert (accepted.status_code, accepted.headers["location"]) == (202, path)
    assert (job["type"], job["priority"], job["metadata"]) == ("blame", 3, {"for": "shop"})
    assert job["blame"] == ASKED
    assert (job["dataset_version"], job["recipe"]) == (None, None)
    assert code_of(client.get(f"{path}/blame")) == (404, "blame_not_found")
    assert blamed.scene.run().status is JobStatus.SUCCEEDED
    ended = client.get(path).json()
    assert ended["links"]["version"] == "/v1/models/demo/versions/2"
    answer = client.get(ended["links"]["blame"])
    assert answer.headers["vary"].split(", ")[0] == "Accept"
    report = answer.json()
    (cat,) = report["classes"]
    assert (cat["class"], cat["groups"][0]["group"]) == ("cat", BAD + 1)
    assert [group["images"] for group in report["groups"]] == [2 * EACH] * 3
    as_csv = client.get(f"{path}/blame", headers={"Accept": "text/csv"})
    assert as_csv.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(as_csv.text)))
    assert [int(row["group"]) for row in rows] == [row["group"] for row in cat["groups"]]
    assert (rows[0]["class"], rows[0]["clear"], int(rows[0]["tested"])) == (
        "cat",
        "true",
        cat["images"],
    )
    assert code_of(client.get(f"{path}/blame", headers={"Accept": "text/html"})) == (
        406,
        "not_acceptable",
    )
    kinds = [event["kind"] for event in client.get(f"{path}/events?limit=200").json()["data"]]
    assert kinds.count("left_out") == 3


def test_what_cannot_be_blamed_is_refused_at_once(service: Service, blamed: Blamed) -> None:
    wanted: list[tuple[dict[str, Any], tuple[int, str]]] = [
        ({"class": "owl"}, (422, "field_invalid")),
        ({"version": 9}, (404, "version_not_found")),
        ({"model": "nobody"}, (404, "model_not_found")),
        ({"by": "class"}, (422, "too_few_classes")),
        ({"groups": 21}, (422, "field_invalid")),
    ]
    for changes, refusal in wanted:
        assert code_of(order(service, **changes)) == refusal, changes
    pointed = order(service, **{"class": "owl"}).json()
    assert [error["pointer"] for error in pointed["errors"]] == ["/class"]
