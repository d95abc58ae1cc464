"""Replies that report an error, from the service and from what may stand before it."""

import pickle
import socket

import httpx
import pytest
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from perennial import Client, ServiceError
from tests.support.api.served import Served
from tests.support.servers.scripted import Script


def refused(script: Script, reply: Response) -> ServiceError:
    """The error that a reply to an order raises."""
    script.replies = [reply]
    with (
        Client(script.url, "pk_any", trust_env=False) as client,
        pytest.raises(ServiceError) as raised,
    ):
        client.jobs.cancel("job_1")
    return raised.value


def test_a_problem_document_is_raised_with_all_that_it_says(served: Served) -> None:
    with pytest.raises(ServiceError, match=r"^404 model_not_found: ") as raised:
        served.client.models.get("nobody")
    error = raised.value
    assert (error.status, error.code, error.retryable) == (404, "model_not_found", False)
    assert error.request_id.startswith("req_")


def test_an_invalid_field_is_named(served: Served) -> None:
    with pytest.raises(ServiceError) as raised:
        served.client.policies.create("odd", alpha=7.0)
    assert (raised.value.status, raised.value.code) == (422, "field_invalid")
    assert [line["pointer"] for line in raised.value.errors] == ["/alpha"]


def test_a_wrong_key_is_refused(served: Served) -> None:
    with (
        Client(served.url, "pk_wrong", trust_env=False) as stranger,
        pytest.raises(ServiceError, match="401 unauthorised"),
    ):
        stranger.workers()


def test_facts_are_kept(script: Script) -> None:
    body = {"code": "gate_failed", "detail": "No.", "facts": {"scores": {"measures": []}}}
    error = refused(script, JSONResponse(body, 409))
    assert (str(error), error.facts) == ("409 gate_failed: No.", {"scores": {"measures": []}})


def test_an_error_travels_between_processes(script: Script) -> None:
    body = {"code": "gate_failed", "detail": "No.", "facts": {"a": 1}, "request_id": "req_1"}
    error = refused(script, JSONResponse(body, 409))
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), vars(copy)) == (str(error), vars(error))


def test_a_page_of_a_proxy_is_shown_in_short(script: Script) -> None:
    error = refused(script, HTMLResponse("<h1>Bad\n  gateway</h1>" + 999 * "x", 502))
    assert (error.status, error.code, error.request_id) == (502, "bad_gateway", "")
    assert "text/html" in error.detail
    assert "<h1>Bad gateway</h1>" in error.detail
    assert len(error.detail) < 400


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (413, "content_too_large"),
        (414, "uri_too_long"),
        (416, "range_not_satisfiable"),
        (422, "unprocessable_content"),
        (431, "request_header_fields_too_large"),
        (499, "unknown_status"),
    ],
)
def test_what_a_proxy_refuses_has_one_code_on_every_python(
    status: int, code: str, script: Script
) -> None:
    assert refused(script, HTMLResponse("", status)).code == code


def test_json_that_is_no_problem_document_is_shown_too(script: Script) -> None:
    error = refused(script, JSONResponse({"message": "slow down"}, 429))
    assert (error.code, error.facts) == ("too_many_requests", {})
    assert "slow down" in error.detail


def test_a_status_without_a_name_is_no_obstacle(script: Script) -> None:
    assert refused(script, Response("?", 599)).code == "unknown_status"


def test_a_redirect_is_raised_with_its_place(script: Script) -> None:
    error = refused(script, RedirectResponse("https://elsewhere.example/v1/jobs", 308))
    assert (error.status, error.code) == (308, "permanent_redirect")
    assert "https://elsewhere.example/v1/jobs" in error.detail


def test_a_success_that_is_not_json_is_raised(script: Script) -> None:
    error = refused(script, HTMLResponse("<p>Sign in to this network", 200))
    assert (error.status, error.code) == (200, "reply_not_json")
    assert "Sign in" in error.detail


def test_no_reply_is_an_error_of_httpx() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", "pk_any", trust_env=False) as client:
        assert not client.is_ready()
        with pytest.raises(httpx.TransportError):
            client.workers()
