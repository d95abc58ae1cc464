"""What RFC 9110 says of methods, preconditions and what a client holds already."""

from collections.abc import Iterator
from typing import Any

import pytest

from core.gate.rules import Verdict
from core.registry.versions import Model
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import EMBEDDED, Service, code_of

pytestmark = EMBEDDED

ALIAS = "/v1/models/demo/aliases/production"

ORDERS = {
    *("order_job", "order_job_again", "teach_classes", "register_model", "import_images"),
    *("order_version_export", "import_bundle", "order_vectors", "order_index_comparison"),
}

RATE_HEADERS = {"Retry-After", "RateLimit-Policy", "RateLimit"}

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
    ("/v1/models/demo", {"GET", "HEAD", "PATCH", "DELETE"}),
    ("/v1/models/demo/aliases/production", {"GET", "HEAD", "PUT", "DELETE"}),
    ("/v1/jobs/j/cancel", {"POST"}),
    ("/v1/jobs/advice", {"POST"}),  # which /v1/jobs/{job} matches as well
    ("/healthz", {"GET", "HEAD"}),
]


def test_allow_names_every_method_of_a_path(service: Service) -> None:
    for path, methods in ALLOWED:
        answer = service.client.request("TRACE", path)
        assert code_of(answer) == (405, "method_not_allowed")
        assert set(answer.headers["allow"].split(", ")) == methods


def operations(service: Service) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every operation of the document, with its problem codes by status."""
    for methods in service.client.get("/openapi.json").json()["paths"].values():
        for operation in methods.values():
            codes = {
                status: set(answer["content"]["application/problem+json"]["examples"])
                for status, answer in operation["responses"].items()
                if "application/problem+json" in answer.get("content", {})
            }
            yield operation, codes


def test_every_operation_documents_what_every_operation_may_answer(service: Service) -> None:
    for operation, codes in operations(service):
        name = operation["operationId"]
        assert "malformed" in codes.get("400", ()), name
        assert {"field_unknown", "field_invalid"} <= codes.get("422", set()), name
        if "requestBody" in operation:
            assert "unsupported_media_type" in codes.get("415", ()), name
            assert "body_too_large" in codes.get("413", ()), name
            assert "request_timeout" in codes.get("408", ()), name
        if operation["tags"][0] not in {"health", "reference"} and name != "get_metrics":
            assert "rate_exceeded" in codes.get("429", ()), name
            assert ("too_many_jobs" in codes["429"]) == (name in ORDERS), name
            assert set(operation["responses"]["429"]["headers"]) == RATE_HEADERS, name
        else:
            assert "429" not in codes, name


@pytest.mark.parametrize("match", ['"7", "1"', '"1","7"', 'W/"9", "1"', ' , "1" ,'])
def test_one_matching_tag_of_a_list_is_enough(service: Service, model: Model, match: str) -> None:
    answer = service.client.put(ALIAS, json={"version": 2}, headers={"If-Match": match})
    assert answer.status_code == 200, answer.text
    assert answer.headers["etag"] == '"2"'


def test_the_tags_of_several_lines_are_one_list(service: Service, model: Model) -> None:
    matches = [("If-Match", '"7"'), ("If-Match", '"1"')]
    answer = service.client.put(ALIAS, json={"version": 2}, headers=matches)
    assert answer.status_code == 200, answer.text
    tag = service.client.get(DOWNLOAD).headers["etag"]
    held = [("If-None-Match", '"other"'), ("If-None-Match", tag)]
    assert service.client.get(DOWNLOAD, headers=held).status_code == 304
    formats = [("Accept", "image/png"), ("Accept", "application/json")]
    assert service.client.get(REPORT, headers=formats).status_code == 200


def test_a_list_without_a_strong_match_is_a_failed_precondition(
    service: Service, model: Model
) -> None:
    for match in ['"7", "9"', 'W/"1"', 'W/"1", "7"', '"1', "1", '""']:
        with service.untouched():
            answer = service.client.put(ALIAS, json={"version": 2}, headers={"If-Match": match})
        assert code_of(answer) == (412, "stale_revision"), match


def test_a_rollback_takes_a_list_too(service: Service, model: Model) -> None:
    service.client.put(ALIAS, json={"version": 2}, headers={"If-Match": "*"})
    back = {"reason": "it is worse"}
    answer = service.client.post(ALIAS + "/rollback", json=back, headers={"If-Match": '"5", "2"'})
    assert (answer.status_code, answer.json()["version"]) == (200, 1)


def test_a_download_that_the_client_holds_is_not_sent_again(service: Service, model: Model) -> None:
    tag = service.client.get(DOWNLOAD).headers["etag"]
    for held in ["{}", '"other", {}', "W/{}", "*"]:
        answer = service.client.get(DOWNLOAD, headers={"If-None-Match": held.format(tag)})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == tag


def test_a_client_that_holds_it_needs_no_range_either(service: Service, model: Model) -> None:
    tag = service.client.get(DOWNLOAD).headers["etag"]
    headers = {"If-None-Match": tag, "Range": "bytes=10-"}
    assert service.client.get(DOWNLOAD, headers=headers).status_code == 304


def test_a_download_that_the_client_does_not_hold_is_sent(service: Service, model: Model) -> None:
    answer = service.client.get(DOWNLOAD, headers={"If-None-Match": '"other"'})
    assert answer.status_code == 200
    assert answer.content


def test_a_range_of_another_version_is_answered_whole(service: Service, model: Model) -> None:
    headers = {"Range": "bytes=10-", "If-Range": '"other"'}
    assert service.client.get(DOWNLOAD, headers=headers).status_code == 200
