"""Requests that are sent again, and how often."""

import pytest
from starlette.responses import JSONResponse, Response

from perennial import Client, ServiceError
from tests.support.scripted import Script

WORKERS = {"data": [], "has_more": False, "next": None}


def busy(status: int = 503, after: str = "0") -> Response:
    return JSONResponse({"code": "busy"}, status, headers={"Retry-After": after})


@pytest.mark.parametrize("status", [429, 503])
def test_a_get_is_sent_again_after_the_seconds_that_the_reply_names(
    script: Script, scripted_client: Client, status: int
) -> None:
    script.replies = [busy(status), busy(status), JSONResponse(WORKERS)]
    assert scripted_client.workers() == []
    assert script.requests == 3 * [("GET", "/v1/workers")]


def test_a_get_is_sent_three_times_at_most(script: Script, scripted_client: Client) -> None:
    script.replies = [busy()]
    with pytest.raises(ServiceError, match="503 busy"):
        scripted_client.workers()
    assert len(script.requests) == 3


@pytest.mark.parametrize("after", ["3600", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_get_does_not_wait_long(script: Script, scripted_client: Client, after: str) -> None:
    script.replies = [busy(after=after)]
    with pytest.raises(ServiceError, match="503 busy"):
        scripted_client.workers()
    assert len(script.requests) == 1


def test_an_order_is_sent_once(script: Script, scripted_client: Client) -> None:
    script.replies = [busy()]
    with pytest.raises(ServiceError, match="503 busy"):
        scripted_client.jobs.retry("job_1", idempotency_key="k")
    assert script.requests == [("POST", "/v1/jobs/job_1/retry")]
    assert script.headers[0]["idempotency-key"] == "k"


def test_readiness_is_asked_once(script: Script, scripted_client: Client) -> None:
    script.replies = [busy(), JSONResponse({"status": "ok"})]
    assert not scripted_client.is_ready()
    assert scripted_client.is_ready()
    assert script.requests == 2 * [("GET", "/readyz")]
