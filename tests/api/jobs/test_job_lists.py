"""Lists of jobs and of what has happened to them: order, pages, filters, a stream of events."""

import itertools
import json
from datetime import timedelta
from typing import Any

import pytest

from api.jobs import routes as job_events
from core.jobs.queue import cancel_job
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus
from core.values import JobId
from tests.support.api.orders import update
from tests.support.api.service import EMBEDDED, Service, code_of
from tests.support.factories import NOW, a_job_of_no_model


def test_jobs_are_listed_newest_first_and_filtered(ready: Service) -> None:
    made = [ready.client.post("/v1/jobs", json=update()).json()["id"] for _ in range(3)]
    ready.client.post(f"/v1/jobs/{made[0]}/cancel")
    page = ready.client.get("/v1/jobs?type=update&limit=2").json()
    assert [job["id"] for job in page["data"]] == made[:0:-1]
    rest = ready.client.get("/v1/jobs", params={"type": "update", "after": page["next"]}).json()
    assert [job["id"] for job in rest["data"]] == made[:1]
    queued = ready.client.get("/v1/jobs?status=cancelled&model=demo").json()
    assert [job["id"] for job in queued["data"]] == made[:1]
    assert code_of(ready.client.get("/v1/jobs?model=nope")) == (404, "model_not_found")


def test_jobs_are_filtered_by_time_and_metadata(ready: Service) -> None:
    made = {}
    for hour, metadata in enumerate([{"team": "shoes"}, {"team": "bags", 'a"b': "%"}, {}]):
        job = a_job_of_no_model(
            "dataset:ds_1", created_at=NOW + timedelta(hours=hour), metadata=metadata
        )
        with ready.platform.transactions() as work:
            work[Jobs].add(job)
            work.commit()
        made[hour] = job.id

    def hours(**params: str) -> set[int]:
        answer = ready.client.get("/v1/jobs", params=params)
        assert answer.status_code == 200, answer.text
        found = [job["id"] for job in answer.json()["data"]]
        return {hour for hour, job in made.items() if job in found}

    first, last = NOW.isoformat(), (NOW + timedelta(hours=2)).isoformat()
    assert hours(created_since=first, created_until=last) == {0, 1}
    assert hours(created_since=last) == {2}
    assert hours(created_until="2026-03-01T14:00:00.123456+01:00") == {0}
    assert hours(metadata="team:shoes") == {0}
    assert hours(metadata="team") == {0, 1}
    assert hours(metadata='a"b:%') == {1}
    assert hours(metadata="tea") == hours(metadata="team:shoe") == hours(metadata="team:") == set()
    assert hours(metadata="team", created_since=last) == set()


FILTERS = [
    "created_since=1764150000",
    "created_since=2026-11-26",
    "created_until=2026-11-26T09:30:00",
    "created_since=0001-01-01T00:00:00%2B14:00",
    "metadata=",
]


@EMBEDDED
def test_a_filter_that_cannot_be_read_is_refused(service: Service) -> None:
    for query in FILTERS:
        answer = service.client.get(f"/v1/jobs?{query}")
        assert code_of(answer) == (422, "field_invalid"), query
        assert answer.json()["errors"][0]["pointer"] == f"#query/{query.partition('=')[0]}"


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
    headers = {"Last-Event-ID": "1"}
    answer = ready.client.get(job["links"]["events"] + "?after=-1", headers=headers)
    assert code_of(answer) == (422, "field_invalid")
