"""Versions: pages, downloads, forgetting reports."""

import errno
import io
import json
import tarfile
from typing import Any
from zipfile import ZipFile

import pytest

from api.registry.report_pages import style_policy
from core.access.keys import create_key
from core.bundles.evidence import FACTS_FILE, REPORT_FILE
from core.bundles.rules import ENVELOPE_FILE
from core.engines.rows import EngineChecks
from core.engines.rules import Comparison, Engine
from core.evaluation.evidence import EVIDENCE
from core.evaluation.rows import AnswerCache
from core.gate.rules import Verdict
from core.jobs.orders import JobType
from core.jobs.rows import Jobs
from core.principal import Role
from core.registry.versions import Model, ServingPrecision
from core.values import Digest, canonical_json
from tests.support.api.browsing import browser_of
from tests.support.api.seeds import a_candidate, a_root, a_verdict
from tests.support.api.service import Service, code_of
from tests.support.evaluation.evaluations import report_of, second_update
from tests.support.factories import NOW, a_job, an_engine_check, digest

VERSIONS = "/v1/models/demo/versions"


@pytest.fixture
def model(service: Service) -> Model:
    """The model `demo`, which has a root only."""
    return a_root(service.platform)


def test_a_list_leaves_what_training_was_told_and_found_to_each_version(
    service: Service, model: Model
) -> None:
    a_candidate(service.platform, model)
    listed = service.client.get(VERSIONS).json()["data"]
    left_out = {"engines", "recipe", "environment", "environments", "notes"}
    for one in listed:
        whole = service.client.get(f"{VERSIONS}/{one['version']}").json()
        assert left_out <= whole.keys()
        assert one == {name: value for name, value in whole.items() if name not in left_out}
    assert len(listed) == 2


@pytest.mark.parametrize(
    ("precision", "cosine", "shown"),
    [
        (ServingPrecision.FP32, 1.0, "onnx, with torch"),
        (ServingPrecision.FP32, 0.99, "features differ"),
        (ServingPrecision.BF16, 0.99, "onnx, in bf16"),
        (ServingPrecision.BF16, None, "nothing<small>Its features differ"),
    ],
)
def test_a_version_says_which_engine_serves_it(
    service: Service, model: Model, precision: ServingPrecision, cosine: float | None, shown: str
) -> None:
    assert service.client.get(f"{VERSIONS}/1").json()["engines"] is None
    browser = browser_of(service, Role.VIEWER)
    assert "<dd>torch</dd>" in browser.get("/ui/models/demo/versions/1").text
    weights = Digest(service.client.get(f"{VERSIONS}/1").json()["digest"])
    problem = "Its features differ." if "differ" in shown else None
    check = an_engine_check(
        weights,
        graphs=digest("graphs"),
        precision=precision,
        engines={Engine.ONNX: Comparison(release="1.32.0", cosine=cosine)},
        problem=problem,
    )
    with service.platform.transactions() as work:
        work[EngineChecks].put(check)
        work.commit()
    found = service.client.get(f"{VERSIONS}/1").json()["engines"]
    serving = [] if problem else ["onnx"]
    assert found == {"serving": serving, "cosines": {"onnx": cosine}, "problem": problem}
    assert shown in browser.get("/ui/models/demo/versions/1").text


def test_a_download_is_the_folder_that_open_clip_loads(service: Service, model: Model) -> None:
    answer = service.client.get(VERSIONS + "/1/download")
    digest = service.client.get(VERSIONS + "/1").json()["digest"]
    assert answer.headers["content-type"] == "application/x-tar"
    assert answer.headers["etag"] == f'"{digest}"'
    assert 'filename="demo-1.tar"' in answer.headers["content-disposition"]
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        assert tar.getnames() == [
            "demo-1/open_clip_config.json",
            "demo-1/open_clip_model.safetensors",
        ]
        weights = tar.extractfile("demo-1/open_clip_model.safetensors")
        assert weights is not None
        data = weights.read()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["visual.proj"]["shape"] == [4]
    assert service.client.get(VERSIONS + "/1/download").content == answer.content


def test_an_interrupted_download_is_resumed_by_range(service: Service, model: Model) -> None:
    whole = service.client.get(VERSIONS + "/1/download")
    headers = {"Range": "bytes=100-", "If-Range": whole.headers["etag"]}
    rest = service.client.get(VERSIONS + "/1/download", headers=headers)
    assert rest.status_code == 206
    assert rest.content == whole.content[100:]
    beyond = service.client.get(VERSIONS + "/1/download", headers={"Range": "bytes=9999999-"})
    assert code_of(beyond) == (416, "range_not_satisfiable")
    assert beyond.headers["content-range"] == f"bytes */{len(whole.content)}"
    odd = service.client.get(VERSIONS + "/1/download", headers={"Range": "bytes=5-1"})
    assert code_of(odd) == (400, "malformed")


def test_a_full_disk_leaves_no_half_of_a_download(
    service: Service, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(*given: Any) -> None:
        given[-1].write(b"half")
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr("api.exports.tars.write_tar", half)
    with service.untouched():
        answer = service.client.get(VERSIONS + "/1/download")
    assert code_of(answer) == (507, "storage_full")


def test_a_flipped_bit_in_a_kept_download_is_found_and_healed(
    service: Service, model: Model
) -> None:
    first = service.client.get(VERSIONS + "/1/download").content
    (kept,) = (service.settings.home / "exports").iterdir()
    data = bytearray(kept.read_bytes())
    data[len(data) // 2] ^= 1
    kept.write_bytes(data)
    for _ in range(2):
        assert service.client.get(VERSIONS + "/1/download").content == first
    (kept,) = (service.settings.home / "exports").iterdir()
    assert kept.read_bytes() == first


def test_a_report_comes_as_json_and_as_a_page(service: Service, model: Model) -> None:
    report = report_of(second_update(), lambda *_: True)
    a_candidate(service.platform, model, verdict=Verdict.FAILED, report=report)
    path = VERSIONS + "/2/forgetting"
    answer = service.client.get(path)
    assert answer.json() == json.loads(report.to_bytes())
    assert answer.headers["vary"].split(", ")[0] == "Accept"
    page = service.client.get(path, headers={"Accept": "text/html,*/*;q=0.1"})
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"] == style_policy()
    assert page.text.lstrip().lower().startswith("<!doctype html>")
    refused = service.client.get(path, headers={"Accept": "image/png"})
    assert code_of(refused) == (406, "not_acceptable")
    a_candidate(service.platform, model, verdict=Verdict.PASSED)  # its report has no known format
    path = VERSIONS + "/3/forgetting"
    unreadable = service.client.get(path, headers={"Accept": "text/html"})
    assert code_of(unreadable) == (409, "report_unreadable")
    assert service.client.get(path).status_code == 200


def test_verdicts_are_listed_with_what_they_cover_and_each_report_is_read(
    service: Service, model: Model
) -> None:
    version = a_candidate(service.platform, model, verdict=Verdict.PASSED)
    told = report_of(second_update(), lambda *_: True)
    with service.platform.transactions() as work:
        result = {"version": 2, "report": service.platform.artifacts.put(told.to_bytes())}
        other = a_job(model, type=JobType.EVALUATE).succeed(result, NOW)
        work[Jobs].add(other)
        a_verdict(service.platform, work, version, Verdict.FAILED, told, beside=9, job=other)
        work.commit()
    listed = service.client.get(VERSIONS + "/2/verdicts").json()["data"]
    here = f"{VERSIONS}/2/forgetting?job="
    assert [one.pop("at")[:4] for one in listed] == [NOW.isoformat()[:4]] * 2
    same = {"policy": "default", "suites": [], "updates": [], "in_force": True, "images": 100}
    assert listed == [
        same
        | {"beside": beside, "verdict": verdict, "job": job, "links": {"forgetting": here + job}}
        for beside, verdict, job in ((1, "passed", version.job), (9, "failed", other.id))
    ]
    assert service.client.get(here + other.id).json() == json.loads(told.to_bytes())
    page = {"Accept": "text/html"}
    assert "demo version" in service.client.get(here + other.id, headers=page).text
    assert code_of(service.client.get(here + version.job)) == (404, "report_not_found")
    assert service.client.get(VERSIONS + "/1/verdicts").json()["data"] == []
    assert code_of(service.client.get(VERSIONS + "/7/verdicts")) == (404, "version_not_found")


def test_a_report_before_the_evaluation_has_ended(service: Service, model: Model) -> None:
    a_candidate(service.platform, model)
    with service.untouched():
        pending = service.client.get(VERSIONS + "/2/forgetting")
        root = service.client.get(VERSIONS + "/1/forgetting")
        missing = service.client.get(VERSIONS + "/7/forgetting")
    assert code_of(pending) == (409, "evaluation_pending")
    assert code_of(root) == (404, "report_not_found")
    assert code_of(missing) == (404, "version_not_found")


def test_evidence_is_for_who_may_read_the_report(service: Service, model: Model) -> None:
    """It is downloaded whole by a viewer, and a key for another model does not learn of it."""
    report = report_of(second_update(), lambda *_: True)
    version = a_candidate(service.platform, model, verdict=Verdict.FAILED, report=report)
    path = VERSIONS + "/2/forgetting/evidence"
    assert code_of(service.client.get(path)) == (404, "artifact_missing")  # seeded without any
    facts = {"images": [], "answers": [], "report": version.report}
    with service.platform.transactions() as work:
        stored = service.platform.artifacts.put(canonical_json(facts))
        work[AnswerCache].add(version.report, EVIDENCE, stored)
        work.commit()
    secret = create_key(service.platform, name="reader", role=Role.VIEWER, models=["demo"])[1]
    answer = service.client.get(path, headers={"Authorization": f"Bearer {secret}"})
    named = 'attachment; filename="demo-2-evidence.zip"'
    assert (answer.status_code, answer.headers["content-disposition"]) == (200, named)
    with ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == [ENVELOPE_FILE, FACTS_FILE, REPORT_FILE]
        assert archive.read(REPORT_FILE) == report.to_bytes()
    a_root(service.platform, "other")
    foreign = create_key(service.platform, name="foreign", role=Role.OPERATOR, models=["other"])[1]
    refused = service.client.get(path, headers={"Authorization": f"Bearer {foreign}"})
    assert code_of(refused) == (404, "model_not_found")
    assert code_of(service.client.get(path + "?job=job_1")) == (404, "report_not_found")
    assert code_of(service.client.get(VERSIONS + "/1/forgetting/evidence"))[1] == "report_not_found"
