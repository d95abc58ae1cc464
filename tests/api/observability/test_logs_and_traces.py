"""Traces from a request to the worker, as a receiver gets them, and what logs must not hold."""

import io
import json
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from core import bootstrap, logs
from core.errors import TrainingDiverged
from core.gate.rules import Verdict
from core.job_types.run import run_next_job
from core.jobs.rules import Monitor
from core.settings import Settings
from tests.support.api.image_files import picture
from tests.support.api.orders import update
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import EMBEDDED, KEY, Service, settings_of
from tests.support.scene import Script
from tests.support.servers.collector import Collector
from tests.support.tools import tools_of

CALLER = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.fixture
def settings(home: Path, collector: Collector) -> Settings:
    return settings_of(home, traces_url=collector.url)


def train_and_fail(monitor: Monitor) -> None:
    monitor.advance("loading", 0, 1)
    monitor.advance("training", 1, 2)
    monitor.advance("training", 2, 2)
    raise TrainingDiverged("The loss of red panda is not a number.", step=2)


def test_a_request_its_job_and_the_phases_of_it_are_one_trace(
    ready: Service, collector: Collector
) -> None:
    headers = {"X-Request-Id": "mine", "traceparent": CALLER}
    answer = ready.client.post("/v1/jobs", json=update(), headers=headers)
    job = answer.json()["id"]
    assert "trace" not in answer.json()
    worker = bootstrap.build(ready.settings)  # another process, as far as traces are concerned
    tools = tools_of(Script(worker, training=train_and_fail), worker.settings)
    assert run_next_job(worker, tools, owner="w", stopping=lambda: False) is not None
    bootstrap.close(worker)
    ready.platform.tracer.close()

    request, done = collector.named("POST /v1/jobs"), collector.named("job update")
    assert (request.trace, request.parent) == ("a" * 32, "b" * 16)
    assert request.attributes["perennial.request"] == "mine"
    assert (done.parent, done.trace) == (request.id, request.trace)
    assert (done.attributes["perennial.job"], done.attributes["perennial.attempt"]) == (job, 1)
    assert (done.attributes["error.type"], done.failed) == ("training_diverged", True)
    for phase in ("loading", "training"):
        span = collector.named(phase)
        assert (span.parent, span.trace) == (done.id, request.trace)


@EMBEDDED
def test_spans_hold_no_names_secrets_or_addresses(
    service: Service, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = service.client
    client.post("/v1/datasets", json={"name": "okapis"})
    files = [("quagga", ("holiday.png", picture(1)))]
    client.post("/v1/datasets/okapis/images", files=files)
    client.get("/v1/datasets/okapis/images?class=quagga")
    client.get("/v1/zebra/stripes")
    client.request("BREW", "/v1/zebra")
    client.get("/v1/models", headers={"Authorization": "Bearer pk_wrong-key"})
    fault = Mock(side_effect=RuntimeError("okapis"))
    monkeypatch.setattr(service.platform.transactions, "on_behalf_of", fault)
    client.get("/v1/models")
    service.platform.tracer.close()
    assert [span.name for span in collector.spans] == [
        "POST /v1/datasets",
        "POST /v1/datasets/{dataset}/images",
        "GET /v1/datasets/{dataset}/images",
        "GET",
        "OTHER",
        "GET",
        "GET /v1/models",
    ]
    *_, refused, failed = collector.spans
    assert refused.attributes["http.response.status_code"] == 401
    assert (failed.failed, failed.attributes["http.response.status_code"]) == (True, 500)
    assert failed.attributes["error.type"] == "RuntimeError"
    for told in (b"okapis", b"quagga", b"holiday", b"zebra", b"stripes", b"BREW", b"pk_"):
        assert told not in collector.body
    assert KEY.encode() not in collector.body


FILE, CLASS = "grandmother-at-the-beach.png", "very private class"


@pytest.fixture
def written(settings: Settings) -> Iterator[io.StringIO]:
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    chosen = settings.model_copy(update={"log_format": "json", "log_level": "debug"})
    logs.configure(chosen, process="api", stream=stream)
    yield stream
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(capture=False)


def lines_of(written: io.StringIO) -> list[dict[str, Any]]:
    """The lines that the service has written, without those of the client."""
    for handler in logging.getLogger().handlers:
        handler.flush()
    found = [json.loads(line) for line in written.getvalue().splitlines()]
    return [line for line in found if not line["logger"].startswith("httpx")]


def test_the_line_of_a_refused_request_has_its_code_and_a_fault_a_line_of_its_own(
    written: io.StringIO, service: Service
) -> None:
    version = a_candidate(
        service.platform, a_root(service.platform, "demo"), verdict=Verdict.FAILED
    )
    path = "/v1/models/demo/aliases/production"
    send = partial(service.client.put, path, json={"version": 2}, headers={"If-Match": "*"})
    assert send().status_code == 409
    folder = service.settings.artifacts
    (file,) = [one for one in folder.rglob("*") if one.parent.name + one.name == version.digest]
    file.chmod(0o600)
    file.write_bytes(b"damaged")
    assert send().status_code == 500
    service.client.get(path)
    refused, fault, failed, done = [
        line for line in lines_of(written) if line["logger"][:4] == "api."
    ]
    assert (refused["event"], refused["status"], refused["code"]) == ("request", 409, "gate_failed")
    assert (fault["level"], fault["code"]) == ("error", "artifact_corrupt")
    assert fault["facts"] == {"digest": version.digest}
    assert (failed["code"], failed["request_id"]) == ("artifact_corrupt", fault["request_id"])
    assert "code" not in done


def test_neither_keys_nor_file_names_nor_bodies_are_written(
    written: io.StringIO, service: Service
) -> None:
    service.client.post("/v1/datasets", json={"name": "beach"})
    files = [(CLASS, (FILE, picture(1))), (CLASS, (FILE, b"not an image"))]
    service.client.post("/v1/datasets/beach/images", files=files)
    service.client.post("/v1/datasets", json={"name": CLASS, "unknown": FILE})
    service.client.post("/v1/datasets", content=b'{"name": "' + CLASS.encode())
    service.client.get(f"/v1/datasets/{CLASS}/images?after={KEY}")
    service.client.get("/v1/models", headers={"Authorization": f"Bearer {KEY}x"})
    lines = lines_of(written)
    assert len(lines) >= 6
    for word in (FILE, CLASS, KEY, "not an image", "beach"):
        assert word not in json.dumps(lines)
