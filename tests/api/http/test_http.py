"""Methods, preconditions, tags and compression as RFC 9110 has them, and pages of other origins."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.gate.rules import Verdict
from core.registry.rows import Models
from core.registry.versions import Model
from tests.support.api.orders import update
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import EMBEDDED, Service, code_of, running, settings_of

pytestmark = EMBEDDED

ALIAS = "/v1/models/demo/aliases/production"

DOWNLOAD = "/v1/models/demo/versions/1/download"

REPORT = "/v1/models/demo/versions/2/forgetting"


@pytest.fixture
def model(service: Service) -> Model:
    """A model whose root is live under revision 1, and a second version that passed."""
    model = a_root(service.platform)
    a_candidate(service.platform, model, verdict=Verdict.PASSED)
    return model


ALLOWED = [
    ("/v1/datasets", {"GET", "HEAD", "POST"}),
    ("/v1/models/demo/aliases/production", {"GET", "HEAD", "PUT", "DELETE"}),
    ("/v1/jobs/advice", {"POST"}),  # which /v1/jobs/{job} matches as well
    ("/healthz", {"GET", "HEAD"}),
]


def test_allow_names_every_method_of_a_path(service: Service) -> None:
    for path, methods in ALLOWED:
        answer = service.client.request("TRACE", path)
        assert code_of(answer) == (405, "method_not_allowed")
        assert set(answer.headers["allow"].split(", ")) == methods


def test_the_tags_of_several_lines_are_one_list(service: Service, model: Model) -> None:
    matches = [("If-Match", '"7"'), ("If-Match", '"1"')]
    answer = service.client.put(ALIAS, json={"version": 2}, headers=matches)
    assert answer.status_code == 200, answer.text
    tag = service.client.get(DOWNLOAD).headers["etag"]
    held = [("If-None-Match", '"other"'), ("If-None-Match", tag)]
    assert service.client.get(DOWNLOAD, headers=held).status_code == 304
    formats = [("Accept", "image/png"), ("Accept", "application/json")]
    assert service.client.get(REPORT, headers=formats).status_code == 200


def test_a_download_is_sent_to_whoever_does_not_hold_it(service: Service, model: Model) -> None:
    tag = service.client.get(DOWNLOAD).headers["etag"]
    for held in ["{}", '"other", {}', "W/{}", "*"]:
        for part in ({}, {"Range": "bytes=10-"}):
            headers = part | {"If-None-Match": held.format(tag)}
            answer = service.client.get(DOWNLOAD, headers=headers)
            assert (answer.status_code, answer.content) == (304, b"")
            assert answer.headers["etag"] == tag
    another = {"Range": "bytes=10-", "If-Range": '"other"'}
    for headers in ({"If-None-Match": '"other"'}, another):
        assert service.client.get(DOWNLOAD, headers=headers).status_code == 200


def test_a_download_does_not_tell_when_its_file_was_written(service: Service, model: Model) -> None:
    for headers, status in (({}, 200), ({"Range": "bytes=10-"}, 206)):
        answer = service.client.get(DOWNLOAD, headers=headers)
        assert answer.status_code == status
        assert "last-modified" not in answer.headers


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
    job = ready.client.post("/v1/jobs", json=update()).json()
    head = ready.client.head(job["links"]["events"], headers={"Accept": "text/event-stream"})
    assert head.status_code == 200
    assert head.headers["content-type"].startswith("text/event-stream")


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
    assert (
        ready.client.patch("/v1/models/demo", json={"suites": [], "reason": "x"}).status_code == 200
    )
    assert ready.client.get("/v1/models/demo").headers["etag"] == before
    ready.client.post("/v1/gate-policies", json={"name": "strict", "reason": "a test"})
    ready.client.patch("/v1/models/demo", json={"policy": "strict", "reason": "a test"})
    answer = ready.client.get("/v1/models/demo", headers={"If-None-Match": before})
    assert (answer.status_code, answer.json()["policy"]) == (200, "strict")


POLICIES = "/v1/gate-policies"
GZIP, PLAIN = {"Accept-Encoding": "gzip"}, {"Accept-Encoding": "identity"}


def test_large_documents_are_compressed_for_clients_that_take_it(service: Service) -> None:
    for name in ("one", "two", "three", "four"):
        service.client.post("/v1/gate-policies", json={"name": name, "reason": "a test"})
    plain, packed = (service.client.get(POLICIES, headers=headers) for headers in (PLAIN, GZIP))
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 3
    for answer in (plain, packed):
        assert "Accept-Encoding" in answer.headers["vary"]
        assert answer.headers["etag"] == plain.headers["etag"]


def test_downloads_and_event_streams_are_sent_as_they_are(ready: Service) -> None:
    download = ready.client.get(DOWNLOAD, headers=GZIP)
    assert int(download.headers["content-length"]) > 2048
    job = ready.client.post("/v1/jobs", json=update()).json()
    ready.client.post(job["links"]["cancel"])
    events = GZIP | {"Accept": "text/event-stream"}
    stream = ready.client.get(job["links"]["events"], headers=events)
    for answer in (download, stream):
        assert "content-encoding" not in answer.headers


STUDIO, OTHER = "https://studio.example", "https://other.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Authorization": ""}
PATHS = ("jobs", "nothing")  # one that is there, and one that is not


@pytest.fixture
def allowing(home: Path) -> Iterator[Service]:
    """A service that lets pages of one origin call it."""
    with running(settings_of(home, cors_origins=(STUDIO,))) as found:
        yield found


def test_without_the_setting_no_origin_is_allowed(service: Service) -> None:
    answer = service.client.get("/v1/models", headers={"Origin": STUDIO})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    asked = service.client.options("/v1/jobs", headers={"Origin": STUDIO, **PREFLIGHT})
    assert code_of(asked) == (401, "unauthorised")


def test_a_listed_origin_may_read_answers_but_send_no_cookies(allowing: Service) -> None:
    for status, headers in ((200, {}), (401, {"Authorization": ""})):
        answer = allowing.client.get("/v1/models", headers={"Origin": STUDIO, **headers})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == STUDIO
        assert "access-control-allow-credentials" not in answer.headers
        assert "ETag" in answer.headers["access-control-expose-headers"]
        assert "Origin" in answer.headers["vary"]
    other = allowing.client.get("/v1/models", headers={"Origin": OTHER})
    assert "access-control-allow-origin" not in other.headers


def test_a_preflight_needs_no_key_and_says_the_same_of_every_path(allowing: Service) -> None:
    wanted = {"Access-Control-Request-Headers": "authorization, if-match, idempotency-key"}
    headers = {"Origin": STUDIO, **PREFLIGHT, **wanted}
    answer, other = (allowing.client.options(f"/v1/{path}", headers=headers) for path in PATHS)
    assert (answer.status_code, answer.text) == (other.status_code, other.text) == (200, "OK")
    assert {**answer.headers, "x-request-id": ""} == {**other.headers, "x-request-id": ""}
    assert answer.headers["access-control-allow-origin"] == STUDIO
    assert {"POST", "HEAD"} <= set(answer.headers["access-control-allow-methods"].split(", "))
    plain = allowing.client.options("/v1/jobs", headers={"Origin": STUDIO, "Authorization": ""})
    assert code_of(plain) == (401, "unauthorised")


def test_a_refused_preflight_is_a_problem(allowing: Service) -> None:
    for changes, refused in (
        ({"Access-Control-Request-Method": "TRACE"}, "method"),
        ({"Access-Control-Request-Headers": "cookie"}, "headers"),
        ({"Origin": OTHER, "Access-Control-Request-Method": "TRACE"}, "origin, method"),
    ):
        headers = {"Origin": STUDIO, **PREFLIGHT, **changes}
        answer = allowing.client.options("/v1/jobs", headers=headers)
        assert code_of(answer) == (403, "forbidden")
        assert answer.json()["detail"].endswith(f"because of its {refused}.")
        assert "access-control-allow-methods" not in answer.headers


def test_a_star_allows_every_origin_without_credentials(home: Path) -> None:
    with running(settings_of(home, cors_origins=("*",))) as service:
        answer = service.client.get("/healthz", headers={"Origin": OTHER})
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers
