"""Exports as clients order, read, download and delete them."""

import errno
import io
import json
import tarfile
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from core.datasets.rules import SuiteKind
from core.datasets.suites import create_suite
from core.exports.make import scratch_folder
from core.fleet.rows import Heartbeats
from core.jobs.rows import Jobs
from core.jobs.rules import Monitor
from core.registry.configure import configure_model
from core.registry.versions import Model
from tests.support.api.imports import EXPORTS, Desk
from tests.support.api.orders import update
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import EMBEDDED, Service, code_of
from tests.support.scene import Script

TIMM = {"vision_cfg": {"timm_model_name": "convnext_tiny"}, "text_cfg": {}}


@pytest.fixture
def model(service: Service) -> Model:
    """The model `demo`, which has a root only."""
    return a_root(service.platform)


@pytest.fixture
def desk(service: Service, model: Model) -> Desk:
    return Desk(service, Script(service.platform))


def files_of(answer: Any) -> dict[str, bytes]:
    """The files of a tar, by their names."""
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        assert {entry.mtime for entry in tar} == {0}
        return {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]


def test_an_export_is_ordered_checked_listed_and_downloaded(desk: Desk) -> None:
    ordered = desk.order()
    job = ordered.json()
    assert ordered.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["type"], job["model"]) == ("export", "demo")
    assert job["export"] == {"version": 1, "format": "onnx"}
    assert job["links"]["export"] == f"{EXPORTS}/onnx"
    assert code_of(desk.get(f"{EXPORTS}/onnx")) == (404, "export_not_found")
    ended = desk.work()
    assert ended["status"] == "succeeded", ended["error"]

    (export,) = desk.get(EXPORTS).json()["data"]
    assert export == desk.get(f"{EXPORTS}/onnx").json()
    version = desk.get("/v1/models/demo/versions/1").json()
    assert export["check"]["digest"] == version["digest"]
    assert export["check"]["least_cosine_images"] == 0.99995
    assert ended["result"] == {
        "artifact": export["artifact"],
        "size": export["size"],
        **export["check"],
    }

    answer = desk.get(export["links"]["download"])
    assert (answer.headers["content-type"], len(answer.content)) == (
        "application/x-tar",
        export["size"],
    )
    assert 'filename="demo-1-onnx.tar"' in answer.headers["content-disposition"]
    files = files_of(answer)
    assert list(files) == ["demo-1/check.json", "demo-1/image.onnx", "demo-1/text.onnx"]
    assert json.loads(files["demo-1/check.json"]) == export["check"]
    tag = answer.headers["etag"]
    assert tag == f'"{export["artifact"]}"'
    assert desk.get(export["links"]["download"], **{"If-None-Match": tag}).status_code == 304


def test_an_export_takes_the_place_of_the_one_before_and_has_the_same_bytes(desk: Desk) -> None:
    first, other, again = (desk.export(each) for each in ("onnx", "open_clip", "onnx"))
    assert first["result"] == again["result"]
    onnx, folder = desk.get(EXPORTS).json()["data"]
    assert (onnx["job"], folder["job"]) == (again["id"], other["id"])
    names = files_of(desk.get(folder["links"]["download"]))
    assert set(names) == {
        "demo-1/check.json",
        "demo-1/open_clip_config.json",
        "demo-1/open_clip_model.safetensors",
    }
    assert desk.get("/v1/models/demo/versions/1/download").status_code == 200


def test_an_export_that_differs_fails_its_job_and_leaves_nothing(desk: Desk) -> None:
    desk.script.cosine = 0.9998
    desk.order()
    before = desk.service.kept()
    ended = desk.work()
    assert (ended["status"], ended["error"]["code"]) == ("failed", "export_differs")
    assert "0.9998, and 0.9999 is required" in ended["error"]["message"]
    assert ended["error"]["least_cosine_images"] == 0.9998
    after = desk.service.kept()
    assert (before["files"], before["exports"]) == (after["files"], after["exports"])
    desk.script.cosine = 1.0
    again = desk.service.client.post(f"/v1/jobs/{ended['id']}/retry").json()
    assert (again["type"], again["retry_of"]) == ("export", ended["id"])
    assert desk.work()["status"] == "succeeded"


@EMBEDDED
@pytest.mark.parametrize(
    ("number", "status", "code"),
    [(errno.ENOSPC, "queued", "storage_full"), (errno.EIO, "failed", "internal")],
)
def test_a_full_disk_pauses_an_export_and_a_broken_one_fails_it(
    desk: Desk, number: int, status: str, code: str
) -> None:
    desk.script.exporting = Mock(side_effect=OSError(number, "so the system says"))
    ended = desk.export()
    assert (ended["status"], (ended["error"] or {"code": ended["phase"]})["code"]) == (status, code)
    assert not any((desk.service.settings.home / "exporting").iterdir())


@EMBEDDED
def test_a_version_whose_weights_are_lost_is_not_exported(desk: Desk) -> None:
    version = desk.get("/v1/models/demo/versions/1").json()
    desk.service.platform.artifacts.delete(version["digest"])
    assert code_of(desk.order()) == (410, "artifact_gone")


def test_what_a_format_has_no_place_for_is_refused_at_once(desk: Desk) -> None:
    a_root(desk.service.platform, "timm", TIMM)
    path = "/v1/models/timm/versions/1/exports"
    refused = desk.order("huggingface", path)
    assert code_of(refused) == (422, "not_exportable")
    assert "convnext_tiny" in refused.json()["detail"]
    assert desk.export("onnx", path)["status"] == "succeeded"
    assert code_of(desk.order("tflite")) == (422, "field_invalid")
    missing = desk.order("onnx", "/v1/models/demo/versions/9/exports")
    assert code_of(missing) == (404, "version_not_found")


def test_formats_that_no_worker_can_write_are_refused_once_workers_say_so(desk: Desk) -> None:
    platform = desk.service.platform

    def beat(name: str, **facts: Any) -> None:
        with platform.transactions() as work:
            work[Heartbeats].record(name, {"queues": ["housekeeping"], **facts})
            work.commit()

    assert desk.order().status_code == 202
    beat("plain:1", formats=["open_clip"])
    refused = desk.order()
    assert code_of(refused) == (409, "exporter_missing")
    assert refused.json()["facts"]["libraries"] == ["onnx", "onnxscript", "onnxruntime"]
    assert desk.order("open_clip").status_code == 202
    beat("trainer:1", formats=["onnx"], queues=["gpu"])
    assert desk.order().status_code == 409
    beat("equipped:1", formats=["open_clip", "onnx"])
    assert desk.order().status_code == 202


def test_a_worker_without_the_libraries_says_so(desk: Desk) -> None:
    ended = desk.export("onnx_int8")  # which the scripted worker lacks
    assert (ended["status"], ended["error"]["code"]) == ("failed", "exporter_missing")
    assert "extra `export`" in ended["error"]["message"]


def test_images_and_texts_of_the_suites_are_asked_about(ready: Service) -> None:
    desk = Desk(ready, Script(ready.platform))
    suite = create_suite(
        ready.platform, name="s", kind=SuiteKind.ZERO_SHOT, dataset="products", dataset_version=1
    )
    configure_model(ready.platform, "demo", suites=[suite.id], policy=None, reason="a test")
    check = desk.export()["result"]
    (samples,) = desk.script.samples
    assert 0 < len(samples.images) == check["images"]
    assert all(ready.platform.artifacts.has(image) for image in samples.images)
    assert any("boot" in text for text in samples.texts)


def test_an_export_is_deleted_alone_or_with_its_version(desk: Desk, model: Model) -> None:
    version = a_candidate(desk.service.platform, model)
    path = EXPORTS.replace("/1/", f"/{version.number}/")
    client = desk.service.client
    for each in ("onnx", "open_clip"):
        desk.export(each, path)
    assert client.delete(f"{path}/onnx").status_code == 204
    for gone in (client.get(f"{path}/onnx/download"), client.delete(f"{path}/onnx")):
        assert code_of(gone) == (404, "export_not_found")
    desk.order("onnx", path)
    held = client.delete(path.removesuffix("/exports"))
    assert code_of(held) == (409, "in_use")
    assert desk.work()["status"] == "succeeded"
    assert client.delete(path.removesuffix("/exports")).status_code == 204
    assert desk.service.kept()["exports"] == []
    assert code_of(client.get(path)) == (404, "version_not_found")
    actions = [event["action"] for event in client.get("/v1/audit-events").json()["data"]]
    assert (actions.count("export.made"), actions.count("export.deleted")) == (3, 1)


def test_a_version_that_is_marked_meanwhile_is_not_exported(ready: Service) -> None:
    desk = Desk(ready, Script(ready.platform))
    pixels = desk.get("/v1/datasets/products/images?class=boot").json()["data"][0]["pixels"]
    ready.client.post("/v1/jobs", json=update())
    desk.work()
    path = EXPORTS.replace("/1/", "/2/")
    desk.export("open_clip", path)
    order = {"images": [pixels], "reason": "asked for", "retrain": "none"}

    def erase(monitor: Monitor) -> None:
        """The image is erased by another worker."""
        here = ready.client.post("/v1/erasures", json=order).headers["location"]
        found.append(here)
        desk.work()

    found: list[str] = []
    desk.script.exporting = erase
    ended = desk.export("onnx", path)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "learned_erased_images")
    assert code_of(desk.order("onnx", path)) == (409, "learned_erased_images")
    proof = desk.get(f"{found[0]}/certificate").json()
    assert [one["exports"] for one in proof["versions"]] == [["open_clip"]]
    assert "exports" in {one["where"] for one in proof["remains"]}


@EMBEDDED
def test_scratch_files_of_dead_workers_are_deleted(desk: Desk) -> None:
    left = desk.service.settings.home / "exporting" / "job_gone-1"
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    desk.export()
    assert not list(left.parent.iterdir())


@EMBEDDED
def test_a_worker_that_has_lost_an_export_leaves_the_files_of_the_next(desk: Desk) -> None:
    def wake_up(monitor: Monitor) -> None:
        """The worker of an earlier claim goes on where it makes its folder."""
        platform = desk.service.platform
        with platform.transactions(read_only=True) as work:
            job = work[Jobs].page(1, None)[0]
        with scratch_folder(platform, replace(job, fence=job.fence - 1)):
            pass

    desk.script.exporting = wake_up
    assert desk.export()["status"] == "succeeded"
