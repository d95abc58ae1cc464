"""One scrape tells of the whole service; docs/operations.md names its settings and metrics."""

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import update as sql_update

from core.database.tables import jobs
from core.database.work import Work
from core.errors import DatabaseUnavailable
from core.fleet.rows import Heartbeats
from core.gate.rules import Verdict
from core.jobs.claim_rows import Counters
from core.jobs.queue import cancel_job
from core.jobs.rows import Jobs
from core.jobs.rules import Progress
from core.settings import Settings
from tests.support.api.orders import update
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import KEY, Service, code_of
from tests.support.deployment.chart import CHART
from tests.support.factories import a_job
from tests.support.places import ROOT


def scrape(service: Service) -> "Scrape":
    answer = service.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return Scrape(answer.text)


class Scrape:
    """The samples of a scrape, by name and labels."""

    def __init__(self, text: str) -> None:
        self.samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def all(self, name: str, labels: Mapping[str, Any]) -> list[float]:
        return [
            sample.value
            for sample in self.samples
            if sample.name == f"perennial_{name}" and labels.items() <= sample.labels.items()
        ]

    def __call__(self, name: str, **labels: Any) -> float:
        (value,) = self.all(name, labels)
        return value


def test_metrics_need_a_key(service: Service) -> None:
    answer = service.client.get("/metrics", headers={"Authorization": ""})
    assert code_of(answer) == (401, "unauthorised")


def test_requests_are_counted_by_template_method_and_status(service: Service) -> None:
    for name in ("one", "two"):
        service.client.get(f"/v1/models/{name}")
    service.client.get("/v1/models/x", headers={"Authorization": ""})
    service.client.get("/no/such/path")
    service.client.request("BREW", "/healthz")
    found = scrape(service)
    route = {"method": "GET", "route": "/v1/models/{model}"}
    assert found("http_requests_total", status="404", **route) == 2
    assert found("http_request_seconds_count", **route) == 2
    assert found("http_requests_total", status="401", route="(none)") == 1
    assert found("http_requests_total", status="404", route="(none)") == 1
    assert found("http_requests_total", method="OTHER") == 1
    for name, labels in (  # counters of alerts start at zero, so that the first increase is seen
        ("jobs_ended_total", {"type": "update", "status": "failed"}),
        ("gate_verdicts_total", {"verdict": "failed"}),
        ("alias_moves_total", {"kind": "rolled_back"}),
        ("webhook_deliveries_total", {"status": "failed"}),
    ):
        assert found(name, **labels) == 0


def test_queue_depth_and_age_come_from_the_database(ready: Service) -> None:
    for _ in range(2):
        assert ready.client.post("/v1/jobs", json=update()).status_code == 202
    with ready.platform.transactions() as work:
        (newest, oldest) = work[Jobs].page(2, None)
        long_ago = oldest.created_at - timedelta(seconds=90)
        work[Jobs]._connection.execute(  # type: ignore[attr-defined]
            sql_update(jobs).where(jobs.c.id == oldest.id).values(created_at=long_ago)
        )
        work.commit()
    found = scrape(ready)
    assert found("jobs", type="update", queue="gpu", status="queued") == 2
    assert 89 < found("oldest_queued_seconds", type="update", queue="gpu") < 120
    cancel_job(ready.platform, newest.id)
    found = scrape(ready)
    assert found("jobs", type="update", status="queued") == 1
    assert found("jobs_ended_total", type="update", status="cancelled") == 1


def test_running_jobs_their_phases_and_what_came_of_them(service: Service) -> None:
    model = a_root(service.platform)
    a_candidate(service.platform, model, verdict=Verdict.PASSED)
    with service.platform.transactions() as work:
        for _ in range(2):
            work[Jobs].add(a_job(model))
        ended = work[Jobs].claim("w:1:2", 60, 3)
        assert ended is not None
        now = service.platform.clock()
        work[Jobs].finish(ended.succeed({"verdict": "failed"}, now), ended.fence)
        job = work[Jobs].claim("gpu-7:1f3a:99", 60, 3)
        assert job is not None
        terms = {"loss": 0.5, "images_per_second": 81.5, "device_mib": 3.0}
        progress = Progress(step=30, total=90, terms=terms)
        work[Jobs].advance(job.id, job.fence, lease_s=60, phase="training", progress=progress)
        labels = {"type": job.type.value, "phase": "training"}
        work[Counters].add_phase(labels, 30.0)
        work.commit()
    found = scrape(service)
    assert found("job_steps", job=job.id, phase="training") == 30
    assert found("job_planned_steps", job=job.id) == 90
    assert found("images_per_second", worker="gpu-7:1f3a") == 81.5
    assert found("device_memory_bytes", job=job.id) == 3 * 2**20
    assert found("job_phase_seconds_sum", **labels) == 30
    assert found("job_phase_seconds_bucket", le="10.0", **labels) == 0
    assert found("job_phase_seconds_bucket", le="60.0", **labels) == 1
    assert found("gate_verdicts_total", verdict="failed") == 1
    assert found("jobs_ended_total", type=job.type.value, status="succeeded") == 1
    assert found("versions", verdict="passed") == 1
    assert found("alias_moves_total", kind="created") == 1


def test_workers_alive_busy_and_stale_and_queues_that_nobody_serves(service: Service) -> None:
    with service.platform.transactions() as work:
        busy = {"state": "busy", "memory_bytes": 7, "host": "a", "queues": ["gpu"]}
        work[Heartbeats].record("a:1", busy)
        work[Heartbeats].record("b:1", {"state": "idle", "queues": ["gpu"]})
        work.commit()
    found = scrape(service)
    assert [found("workers", state=state) for state in ("busy", "idle", "stale")] == [1, 1, 0]
    assert found("worker_memory_bytes", host="a") == 7
    assert [found("queue_workers", queue=queue) for queue in ("gpu", "housekeeping")] == [2, 0]


def test_a_database_that_is_away_leaves_what_the_process_knows_to_who_read_it_before(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.client.get("/healthz")
    scrape(service)
    monkeypatch.setattr(Work, "__enter__", Mock(side_effect=DatabaseUnavailable))
    found = scrape(service)
    assert found("database_up") == 0
    assert found("http_requests_total", route="/healthz") == 1
    assert found.all("jobs", {}) == []
    other = {"Authorization": f"Bearer {KEY}x"}
    refused = service.client.get("/metrics", headers=other)
    assert code_of(refused) == (503, "database_unavailable")
    assert code_of(service.client.get("/v1/jobs")) == (503, "database_unavailable")


PAGE = (ROOT / "docs/operations.md").read_text()
LIMIT = re.compile(r"^\| `PERENNIAL_(\w+)` \| `(\S+)` \|", flags=re.MULTILINE)
LIMITS = LIMIT.findall((ROOT / "docs/limits.md").read_text("utf-8"))
METRIC = re.compile(r"\b(?:perennial|process|python)_[a-z0-9_]+")
OF_A_HISTOGRAM = re.compile(r"_(bucket|sum|count)$")


def section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def rows(heading: str) -> list[list[str]]:
    """The cells of the tables under a heading, first row and rule left out."""
    tables = re.findall(r"(?:^\|.*\n)+", section(heading), flags=re.MULTILINE)
    lines = [line for table in tables for line in table.splitlines()[2:]]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def exposed(service: Service) -> set[str]:
    """The names in a scrape; when a counter began (`_created`) is a remark on it."""
    service.client.get("/healthz")
    scrape = service.client.get("/metrics").text
    names = set(re.findall(r"^# TYPE (\S+)", scrape, flags=re.MULTILINE))
    return {name for name in names if not name.endswith("_created")}


def spelled(default: object) -> str:
    """A default as the environment would spell it."""
    match default:
        case SecretStr() | "":
            return ""
        case bool() | tuple() | dict():
            return f"`{json.dumps(default, separators=(',', ':'))}`"
        case _:
            return f"`{default}`"


def test_every_setting_stands_there_or_among_the_limits_with_its_default() -> None:
    told = [(name, default) for name, default, _ in rows("Configuration")]
    told += [(f"`PERENNIAL_{name}`", f"`{default}`") for name, default in LIMITS]
    assert sorted(told) == sorted(
        (f"`PERENNIAL_{name.upper()}`", spelled(field.default))
        for name, field in Settings.model_fields.items()
    )


def test_every_metric_stands_there(service: Service) -> None:
    assert {name.strip("`") for name, _, _ in rows("Monitor")} == exposed(service)


@pytest.mark.parametrize(
    "file", ["monitoring/alerts.yaml", "monitoring/dashboard.json", "templates/autoscaling.yaml"]
)
def test_what_watches_metrics_names_those_that_there_are(service: Service, file: str) -> None:
    watched = {OF_A_HISTOGRAM.sub("", name) for name in METRIC.findall((CHART / file).read_text())}
    assert watched
    assert watched <= exposed(service)
