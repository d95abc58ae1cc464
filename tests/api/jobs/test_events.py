"""A job's history: a page, or a stream that ends with the job."""

import itertools
import json
from typing import Any

import pytest

from api.jobs import routes as job_events
from core.jobs.queue import cancel_job
from core.jobs.rules import JobStatus
from core.values import JobId
from tests.support.api.orders import update
from tests.support.api.service import Service, code_of


def test_events_come_as_a_page(ready: Service) -> None:
    job = ready.client.post("/v1/jobs", json=update()).json()
    ready.client.post(job["links"]["cancel"])
    page = ready.client.get(job["links"]["events"] + "?limit=1").json()
    assert [(event["id"], event["kind"]) for event in page["data"]] == [(1, "queued")]
    assert page["has_more"]
    rest = ready.client.get(job["links"]["events"] + "?after=" + page["next"]).json()
    assert [event["kind"] for event in rest["data"]] == [JobStatus.CANCELLED]
    assert code_of(ready.client.get("/v1/jobs/nope/events")) == (404, "job_not_found")


def test_events_come_as_a_stream_that_ends_with_the_job(ready: Service) -> None:
    job = ready.client.post("/v1/jobs", json=update()).json()
    ready.client.post(job["links"]["cancel"])
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "1"}
    answer = ready.client.get(job["links"]["events"], headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = [
        dict(line.split(": ", 1) for line in text.splitlines())
        for text in answer.text.strip().split("\n\n")
    ]
    assert [event["event"] for event in told] == ["cancelled", "done"]
    assert told[0]["id"] == "2"
    assert json.loads(told[0]["data"])["kind"] == "cancelled"


def test_a_stream_without_events_beats(ready: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    job = ready.client.post("/v1/jobs", json=update()).json()
    reads, read = itertools.count(1), job_events.read_events

    def read_and_cancel(*asked: Any) -> Any:
        if next(reads) == 6:
            cancel_job(ready.platform, JobId(job["id"]))
        return read(*asked)

    monkeypatch.setattr(job_events, "read_events", read_and_cancel)
    monkeypatch.setattr(job_events, "POLL_EVERY_S", 0.0)
    monkeypatch.setattr(job_events, "KEEP_ALIVE_EVERY", 2)
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "1"}
    answer = ready.client.get(job["links"]["events"], headers=headers)
    assert answer.text.startswith(": beat\n\n: beat\n\nid: 2\nevent: cancelled\n")


def test_events_in_another_form_are_refused(ready: Service) -> None:
    job = ready.client.post("/v1/jobs", json=update()).json()
    answer = ready.client.get(job["links"]["events"], headers={"Accept": "text/csv"})
    assert code_of(answer) == (406, "not_acceptable")


def test_a_wrong_page_is_refused_beside_a_last_event_as_well(ready: Service) -> None:
    job = ready.client.post("/v1/jobs", json=update()).json()["id"]
    headers = {"Last-Event-ID": "1"}
    answer = ready.client.get(f"/v1/jobs/{job}/events", params={"after": "-1"}, headers=headers)
    assert code_of(answer) == (422, "field_invalid")
