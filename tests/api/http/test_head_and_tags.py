"""HEAD wherever there is GET, and entity tags of documents."""

import pytest

from core.gate.rules import Verdict
from core.registry.rows import Models
from tests.support.api.orders import update
from tests.support.api.seeds import a_candidate
from tests.support.api.service import EMBEDDED, Service

pytestmark = EMBEDDED

OWN = {"x-request-id": "", "ratelimit": ""}  # different in every reply

GETS = {
    "/healthz": 200,
    "/v1/suites": 200,
    "/v1/models": 200,
    "/v1/models/demo": 200,
    "/v1/models/demo/aliases/production": 200,
    "/v1/datasets/products/versions/1": 200,
    "/v1/models/demo/versions/1/download": 200,
    "/v1/models/nobody": 404,
    "/v1/nothing": 404,
    "/v1/jobs/j/cancel": 405,
}


def test_head_has_the_status_and_headers_of_get_and_no_body(ready: Service) -> None:
    for path, status in GETS.items():
        got, head = ready.client.get(path), ready.client.head(path)
        assert (head.status_code, head.content) == (status, b""), path
        assert {**head.headers, **OWN} == {**got.headers, **OWN}, path
    assert int(head.headers["content-length"]) > 0


def test_head_of_a_stream_ends_at_once(ready: Service) -> None:
    job = ready.client.post("/v1/jobs", json=update()).json()
    head = ready.client.head(job["links"]["events"], headers={"Accept": "text/event-stream"})
    assert head.status_code == 200
    assert head.headers["content-type"].startswith("text/event-stream")


def test_head_is_logged_under_its_route(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="api.observability")
    service.client.head("/v1/models/demo")
    routes = [line.route for line in caplog.records if getattr(line, "method", "") == "HEAD"]  # type: ignore[attr-defined]
    assert routes == ["/v1/models/{model}"]


def test_documents_that_the_client_has_are_not_sent_again(ready: Service) -> None:
    with ready.platform.transactions(read_only=True) as work:
        model = work[Models].get("demo")
    a_candidate(ready.platform, model, verdict=Verdict.PASSED)
    for path in (
        "/v1/models/demo/versions/2/forgetting",
        "/v1/datasets/products/versions/1",
        "/v1/models/demo/versions/1",
        "/v1/suites",
    ):
        first = ready.client.get(path)
        tag = first.headers["etag"]
        assert tag.startswith('W/"')
        for sent in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
            again = ready.client.get(path, headers={"If-None-Match": sent})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == tag
            assert "content-type" not in again.headers
        assert ready.client.get(path, headers={"If-None-Match": '"other"'}).json() == first.json()
    report = ready.client.get("/v1/models/demo/versions/2/forgetting")
    assert report.headers["vary"] == "Accept"


def test_a_tag_changes_with_the_document(ready: Service) -> None:
    before = ready.client.get("/v1/models/demo").headers["etag"]
    assert ready.client.patch("/v1/models/demo", json={"suites": []}).status_code == 200
    assert ready.client.get("/v1/models/demo").headers["etag"] == before
    ready.client.post("/v1/gate-policies", json={"name": "strict"})
    ready.client.patch("/v1/models/demo", json={"policy": "strict"})
    answer = ready.client.get("/v1/models/demo", headers={"If-None-Match": before})
    assert (answer.status_code, answer.json()["policy"]) == (200, "strict")


def test_tags_of_routes_are_kept_and_errors_have_none(ready: Service) -> None:
    alias = ready.client.get("/v1/models/demo/aliases/production")
    assert alias.headers["etag"] == '"1"'
    again = ready.client.get("/v1/models/demo/aliases/production", headers={"If-None-Match": '"1"'})
    assert (again.status_code, again.headers["etag"]) == (304, '"1"')
    for path in ("/v1/models/nobody", "/v1/jobs?limit=0"):
        assert "etag" not in ready.client.get(path, headers={"If-None-Match": "*"}).headers
    assert "etag" not in ready.client.post("/v1/datasets", json={"name": "d"}).headers
