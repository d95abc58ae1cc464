"""Lists of jobs: their order, pages and filters."""

from datetime import timedelta

from core.jobs.rows import Jobs
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
    "created_since=yesterday",
    "created_since=1764150000",
    "created_since=2026-11-26",
    "created_until=2026-11-26T09:30:00",
    "created_until=2026-13-26T09:30:00Z",
    "created_since=0001-01-01T00:00:00%2B14:00",
    "metadata=",
]


@EMBEDDED
def test_a_filter_that_cannot_be_read_is_refused(service: Service) -> None:
    for query in FILTERS:
        answer = service.client.get(f"/v1/jobs?{query}")
        assert code_of(answer) == (422, "field_invalid"), query
        assert answer.json()["errors"][0]["pointer"] == f"#query/{query.partition('=')[0]}"
