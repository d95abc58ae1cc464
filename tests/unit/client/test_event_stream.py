"""A job's events as they happen, over connections that break."""

import json

import httpx
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from perennial import connection as event_stream
from perennial.client import Client
from perennial.errors import ServiceError
from tests.support.servers.scripted import Script

AT = "2026-11-26T17:49:39Z"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between connections."""
    monkeypatch.setattr(event_stream, "FIRST_PAUSE_S", 0.0)


def stream(*kinds: str, first: int = 1) -> Response:
    """A stream of events that are numbered from `first`."""
    events = [{"id": first + n, "kind": kind, "data": {}, "at": AT} for n, kind in enumerate(kinds)]
    told = (f"id: {e['id']}\nevent: {e['kind']}\ndata: {json.dumps(e)}\n\n" for e in events)
    return PlainTextResponse(": beat\n\n" + "".join(told), media_type="text/event-stream")


def test_a_stream_goes_on_after_the_last_event(script: Script, scripted_client: Client) -> None:
    busy = JSONResponse({"code": "unavailable"}, 503)
    script.replies = [stream("queued", "claimed"), stream(), busy, stream("done", first=3)]
    events = scripted_client.jobs.watch("job_1")
    assert [(event["id"], event["kind"]) for event in events] == [
        (1, "queued"),
        (2, "claimed"),
        (3, "done"),
    ]
    assert [headers.get("last-event-id") for headers in script.headers] == [None, "2", "2", "2"]
    assert {headers["accept"] for headers in script.headers} == {"text/event-stream"}


def test_a_stream_starts_after_a_given_event(script: Script, scripted_client: Client) -> None:
    script.replies = [stream("done", first=8)]
    assert [event["id"] for event in scripted_client.jobs.watch("job_1", after=7)] == [8]
    assert script.headers[0]["last-event-id"] == "7"


def test_a_job_that_ended_without_a_worker_ends_its_stream(
    script: Script, scripted_client: Client
) -> None:
    end = PlainTextResponse('event: done\ndata: {"job": "job_1"}\n\n')
    script.replies = [stream("queued", "cancelled"), end]
    assert len(list(scripted_client.jobs.watch("job_1"))) == 2


def test_six_connections_without_an_event_are_enough(
    script: Script, scripted_client: Client
) -> None:
    script.replies = [stream("queued"), stream()]
    with pytest.raises(httpx.RemoteProtocolError, match="ended before the job"):
        list(scripted_client.jobs.watch("job_1"))
    assert len(script.requests) == 1 + event_stream.TRIES - 1


def test_an_unknown_job_is_an_error_at_once(script: Script, scripted_client: Client) -> None:
    script.replies = [JSONResponse({"code": "job_not_found"}, 404)]
    with pytest.raises(ServiceError, match="404 job_not_found"):
        list(scripted_client.jobs.watch("job_1"))
    assert len(script.requests) == 1
