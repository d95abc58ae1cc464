"""A job's history: a page, or a stream that ends with the job."""

import json

from core.domain.jobs.job import JobStatus
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
    events = [
        dict(line.split(": ", 1) for line in text.splitlines())
        for text in answer.text.strip().split("\n\n")
    ]
    assert [event["event"] for event in events] == ["cancelled", "done"]
    assert events[0]["id"] == "2"
    assert json.loads(events[0]["data"])["kind"] == "cancelled"


def test_events_in_another_form_are_refused(ready: Service) -> None:
    job = ready.client.post("/v1/jobs", json=update()).json()
    answer = ready.client.get(job["links"]["events"], headers={"Accept": "text/csv"})
    assert code_of(answer) == (406, "not_acceptable")


def test_a_wrong_page_is_refused_beside_a_last_event_as_well(ready: Service) -> None:
    job = ready.client.post("/v1/jobs", json=update()).json()["id"]
    headers = {"Last-Event-ID": "1"}
    answer = ready.client.get(f"/v1/jobs/{job}/events", params={"after": "-1"}, headers=headers)
    assert code_of(answer) == (422, "field_invalid")
