"""Bundles: made by one service, imported by another that trusts its key, and scored there."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from core.datasets.rules import Suite, SuiteKind
from core.datasets.suites import create_suite
from core.erasure.rows import Erasures
from core.erasure.rules import Erasure
from core.errors import StopRequested
from core.gate.rules import Verdict
from core.jobs.monitor import JobMonitor
from core.jobs.rules import JobStatus
from core.principal import Role
from core.registry.marks import Marks
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Version, Weights
from core.settings import Settings
from core.upkeep.delete import retire_suite
from core.values import ErasureId, JobId
from tests.support.api.browsing import browser_of
from tests.support.api.imports import Desk
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import EMBEDDED, Service, code_of, settings_of
from tests.support.bundles import OURS, THEIRS, packed, signed_again, unpacked
from tests.support.factories import NOW
from tests.support.scene import Scene, Script

EXPORTS, IMPORTS = "/v1/models/demo/versions/{}/exports", "/v1/models/copy/imports"

TAR = {"Content-Type": "application/x-tar"}


@pytest.fixture
def settings(home: Path) -> Settings:
    """Of a service that signs, and that trusts its own key under a name, and nobody else."""
    return settings_of(home, signing_key=SecretStr(OURS.private), trusted_keys={"lab": OURS.public})


@pytest.fixture
def desk(service: Service) -> Desk:
    """The model `demo`, of which version 2 passed and 3 was trained from it, and a model `copy`.

    `copy` has the same root alone, as it would have on another service.
    """
    model = a_root(service.platform)
    a_candidate(service.platform, model, verdict=Verdict.PASSED, teaches=("boot",))
    a_candidate(service.platform, model, parent=2, teaches=("bag",))
    a_root(service.platform, "copy")
    return Desk(service, Script(service.platform))


def bundle_of(desk: Desk, version: int = 3) -> bytes:
    """The bundle of a version of `demo`."""
    path = EXPORTS.format(version)
    assert desk.export("bundle", path)["status"] == "succeeded"
    data: bytes = desk.get(f"{path}/bundle/download").content
    return data


def send(desk: Desk, data: bytes, path: str = IMPORTS, **query: str) -> Any:
    return desk.service.client.post(path, content=data, headers=TAR, params=query)


def imported(desk: Desk, data: bytes) -> Any:
    answer = send(desk, data)
    assert answer.status_code == 202, answer.text
    return desk.work()


def test_a_bundle_becomes_a_version_that_the_gate_here_must_judge(desk: Desk) -> None:
    data = bundle_of(desk)
    there = desk.get("/v1/models/demo/versions/3").json()
    answer = send(desk, data, expect_digest=f"sha256:{there['digest']}")
    job = answer.json()
    assert (job["type"], job["model"], job["bundle"]["digest"]) == (
        "import_version",
        "copy",
        there["digest"],
    )
    ended = desk.work()
    assert ended["result"] == {
        "version": 2,
        "digest": there["digest"],
        "created": True,
        "unguarded": ["boot", "bag"],
    }
    here = desk.get(ended["links"]["version"]).json()
    assert (here["parent"], here["status"], here["verdict"]) == (1, "candidate", None)
    assert (here["classes"], here["update_classes"]) == (["boot", "bag"], ["boot", "bag"])
    assert here["imported_from"] == {
        "model": "demo",
        "version": 3,
        "signed_by": "lab",
        "key_id": desk.get("/v1/signing-key").json()["key_id"],
        "bundle": job["bundle"]["archive"],
    }
    origin = desk.get(ended["links"]["origin"]).json()
    assert [(one["version"], one["verdict"]) for one in origin["line"]] == [
        (1, None),
        (2, "passed"),
        (3, None),
    ]
    assert origin["reports"] == {"2": {**origin["reports"]["2"], "reasons": ["It forgot."]}}

    moved = desk.service.client.put(
        "/v1/models/copy/aliases/production",
        json={"version": 2, "override": True, "reason": "it passed there"},
        headers={"If-Match": '"1"'},
    )
    assert code_of(moved) == (409, "evaluation_pending")
    order = {"type": "evaluate", "model": "copy", "version": 2}
    assert desk.service.client.post("/v1/jobs", json=order).status_code == 202
    assert desk.work()["result"]["verdict"] == "inconclusive"  # a model without suites
    report = desk.get("/v1/models/copy/versions/2/forgetting").json()
    assert (report["parent_digest"], report["dataset"]) == (report["root_digest"], None)

    again = imported(desk, data)
    assert again["result"] == {**ended["result"], "created": False}
    events = desk.get("/v1/audit-events").json()["data"]
    (event,) = [one for one in events if one["action"] == "version.imported"]
    assert (event["subject"], event["to"]["signed_by"]) == ("models/copy/versions/2", "lab")


def scene_of(desk: Desk) -> Scene:
    return Scene(desk.service.platform.transactions, desk.service.platform.artifacts)


def a_suite(desk: Desk, name: str, *classes: str, each: int = 20) -> Suite:
    """A suite of these classes, which judges no model yet."""
    data = scene_of(desk).frozen(*classes, each=each, offset=len(name) * 100)
    return create_suite(
        desk.service.platform,
        name=name,
        kind=SuiteKind.ZERO_SHOT,
        dataset=data.dataset,
        dataset_version=data.number,
    )


def suites_of(desk: Desk) -> list[str]:
    return desk.get("/v1/models/copy").json()["suites"]


def test_an_import_names_the_suite_that_guards_what_was_taught(desk: Desk) -> None:
    """It judges the model once the version is there; until then nothing has changed."""
    data = bundle_of(desk)
    guard, other = a_suite(desk, "shoes", "Boot", "sun"), a_suite(desk, "sky", "sun", "moon")
    with desk.service.untouched():
        assert code_of(send(desk, data, guard="none")) == (404, "suite_not_found")
        refused = send(desk, data, guard=other.name)
        assert code_of(refused) == (422, "guard_unfit")
        assert refused.json()["facts"] == {"suite": "sky", "classes": ["boot", "bag"]}
    job = send(desk, data, guard="shoes").json()
    assert (job["bundle"]["guard"], suites_of(desk)) == (guard.id, [])
    assert desk.work()["result"]["unguarded"] == ["bag"]
    assert suites_of(desk) == ["shoes"]
    bags = a_suite(desk, "bags", "bag")
    send(desk, data, guard=bags.id)
    result = desk.work()["result"]
    assert (result["created"], result["unguarded"]) == (False, [])
    assert suites_of(desk) == ["shoes", "bags"]
    events = desk.get("/v1/audit-events?action=model.configured").json()["data"]
    assert [one["to"]["suites"] for one in events][:2] == [["shoes", "bags"], ["shoes"]]


@EMBEDDED
def test_a_guard_that_is_retired_meanwhile_stops_the_import(desk: Desk) -> None:
    data = bundle_of(desk)
    a_suite(desk, "shoes", "boot")
    send(desk, data, guard="shoes")
    retire_suite(desk.service.platform, suite="shoes")
    assert desk.work()["error"]["code"] == "suite_retired"
    assert (len(versions_of(desk)), suites_of(desk)) == (1, [])
    assert code_of(send(desk, data, guard="shoes")) == (409, "suite_retired")


@EMBEDDED
@pytest.mark.parametrize("guarded", [False, True])
def test_a_child_of_what_was_imported_says_so_until_a_suite_guards_it(
    desk: Desk, guarded: bool
) -> None:
    a_suite(desk, "shoes", "boot", "bag")
    send(desk, bundle_of(desk), **({"guard": "shoes"} if guarded else {}))
    assert desk.work()["result"]["version"] == 2
    scene = scene_of(desk)
    with scene.platform.transactions(read_only=True) as work:
        copy = work[Models].get("copy")
    scene.update(copy, scene.frozen("hat", each=20, offset=5000), parent=2)
    assert desk.work()["status"] == "succeeded"
    report = desk.get("/v1/models/copy/versions/3/forgetting").json()
    page = browser_of(desk.service, Role.VIEWER).get("/ui/models/copy/versions/3").text
    told = "Nothing guards 2 classes of version 2, which was imported: boot, bag."
    assert report["summary"]["unguarded"].startswith(told) is not guarded
    assert report["unguarded"] == (
        [] if guarded else [{"version": 2, "imported": True, "classes": ["boot", "bag"]}]
    )
    assert ("which was imported" in page) is not guarded


@EMBEDDED
def test_the_nearest_ancestor_that_is_there_is_the_parent(desk: Desk) -> None:
    """And what was imported can be taught, scored and bundled as any version."""
    parent, child = bundle_of(desk, 2), bundle_of(desk)
    assert imported(desk, parent)["result"]["version"] == 2
    assert imported(desk, child)["result"]["version"] == 3
    here = desk.get("/v1/models/copy/versions/3").json()
    assert (here["parent"], here["update_classes"]) == (2, ["bag"])
    path = "/v1/models/copy/versions/3/exports"
    assert desk.export("bundle", path)["status"] == "succeeded"
    again = unpacked(desk.get(f"{path}/bundle/download").content)
    assert again["open_clip_model.safetensors"] == unpacked(child)["open_clip_model.safetensors"]


@EMBEDDED
def test_a_bundle_keeps_the_precision_of_its_version(desk: Desk) -> None:
    order = {"type": "convert", "model": "demo", "version": 3, "precision": "bf16"}
    assert desk.service.client.post("/v1/jobs", json=order).status_code == 202
    assert desk.work()["status"] == "succeeded"
    data = bundle_of(desk, 4)
    converted, parent = unpacked(data), unpacked(bundle_of(desk, 3))
    assert converted["open_clip_model.safetensors"] == parent["open_clip_model.safetensors"]
    assert json.loads(converted["open_clip_config.json"])["precision"] == "bf16"
    assert imported(desk, data)["result"]["version"] == 2
    there, here = (
        desk.get(f"/v1/models/{one}").json() for one in ("demo/versions/4", "copy/versions/2")
    )
    assert (here["precision"], here["digest"], here["parent"]) == ("bf16", there["digest"], 1)
    assert here["update_classes"] == ["boot", "bag"]


@EMBEDDED
@pytest.mark.parametrize("precision", ["fp8", ["bf16"], None])
def test_a_precision_that_is_not_known_here_is_refused(desk: Desk, precision: Any) -> None:
    files, artifacts = unpacked(bundle_of(desk)), desk.service.platform.artifacts
    digest = desk.get("/v1/models/demo/versions/3").json()["digest"]
    weights = Weights.from_bytes(artifacts.get(digest))
    weights = replace(weights, config={**weights.config, "precision": precision})
    files |= {"open_clip_config.json": json.dumps(weights.config).encode()}
    data = signed_again(
        files, key=OURS, change=lambda said: said["line"][-1].update(digest=weights.digest)
    )
    error = imported(desk, packed(data))["error"]
    assert (error["code"], "precision" in error["message"]) == ("bundle_invalid", True), error


@EMBEDDED
def test_what_could_not_be_imported_is_refused_before_it_is_stored(desk: Desk) -> None:
    data = bundle_of(desk)
    theirs = packed(signed_again(unpacked(data), key=THEIRS))
    other = a_root(desk.service.platform, "other", {"embed_dim": 3})
    with desk.service.untouched():
        assert code_of(send(desk, theirs)) == (422, "bundle_not_trusted")
        assert code_of(send(desk, b"x" * 3000)) == (415, "unsupported_archive")
        assert code_of(send(desk, packed({"a": b"x"}))) == (422, "bundle_invalid")
        assert code_of(send(desk, data[:700])) == (422, "archive_corrupt")
        assert code_of(send(desk, data, expect_digest="0" * 64)) == (422, "bundle_invalid")
        refused = send(desk, data, f"/v1/models/{other.name}/imports")
        assert code_of(refused) == (409, "lineage_unknown")
        assert len(refused.json()["facts"]["ancestors"]) == 2
        assert code_of(send(desk, data, "/v1/models/none/imports")) == (404, "model_not_found")
        assert code_of(send(desk, data, upload="up_none")) == (422, "field_invalid")
        assert code_of(desk.get("/v1/models/demo/versions/2/origin")) == (404, "origin_not_found")


@EMBEDDED
def test_an_upload_is_imported_and_an_untrusted_one_is_refused(desk: Desk) -> None:
    data = bundle_of(desk)
    client, tus = desk.service.client, {"Tus-Resumable": "1.0.0"}

    def uploaded(sent: bytes) -> str:
        length = {"Upload-Length": str(len(sent))}
        place = client.post("/v1/uploads", headers=tus | length).headers["location"]
        part = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
        answer = client.patch(place, content=sent, headers=tus | part)
        assert answer.status_code == 204, answer.text
        return place.rpartition("/")[2]

    theirs = uploaded(packed(signed_again(unpacked(data), key=THEIRS)))
    with desk.service.untouched():
        refused = client.post(IMPORTS, params={"upload": theirs})
        assert code_of(refused) == (422, "bundle_not_trusted")
    assert client.post(IMPORTS, params={"upload": uploaded(data)}).status_code == 202
    assert desk.work()["result"]["created"]


def versions_of(desk: Desk, model: str = "copy") -> list[Version]:
    with desk.service.platform.transactions(read_only=True) as work:
        return list(work[Versions].all(work[Models].get(model).id))


@EMBEDDED
def test_an_import_that_is_stopped_anywhere_leaves_nothing_and_ends_the_same(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at each report of its progress in turn, as it is when its worker shuts down."""
    job = send(desk, bundle_of(desk)).json()["id"]
    report, told, stops = JobMonitor.advance, 0, 0

    def advance(monitor: JobMonitor, *phase: Any) -> None:
        nonlocal told
        told += 1
        if told > stops:
            raise StopRequested
        report(monitor, *phase)

    monkeypatch.setattr(JobMonitor, "advance", advance)
    while desk.work()["status"] != JobStatus.SUCCEEDED:
        assert len(versions_of(desk)) == 1
        told, stops = 0, stops + 1
    assert stops == 2  # while it was checked, and while it was stored
    assert [one.number for one in versions_of(desk)] == [1, 2]
    assert desk.get(f"/v1/jobs/{job}").json()["result"]["created"]


@EMBEDDED
def test_a_retry_reads_the_archive_again(desk: Desk) -> None:
    job = send(desk, bundle_of(desk)).json()["id"]
    client = desk.service.client
    assert client.post(f"/v1/jobs/{job}/cancel").json()["status"] == "cancelled"
    assert client.post(f"/v1/jobs/{job}/retry").json()["bundle"]["bytes"] > 0
    assert desk.work()["result"]["created"]


@EMBEDDED
def test_erased_images_do_not_come_back_by_a_bundle(desk: Desk) -> None:
    """Whether the marked version is in the model, was deleted, or was never there."""
    parent, child = bundle_of(desk, 2), bundle_of(desk)
    waiting = send(desk, child).json()["id"]
    with desk.service.platform.transactions() as work:
        erasure = Erasure(
            id=ErasureId("era_1"), images=(), reason="x", actor="x", job=JobId("j"), created_at=NOW
        )
        work[Erasures].add(erasure)
        marked = work[Versions].get(work[Models].get("demo").id, 2)
        work[Marks].add([marked.digest], erasure.id)
        work[Versions].mark(marked.model, 2, erasure.id)
        work.commit()
    for data in (parent, child):
        with desk.service.untouched():
            for model in ("demo", "copy"):
                refused = send(desk, data, f"/v1/models/{model}/imports")
                assert code_of(refused) == (409, "learned_erased_images")
    assert desk.work()["error"]["code"] == "learned_erased_images"
    again = desk.service.client.post(f"/v1/jobs/{waiting}/retry")
    assert again.status_code == 202  # the bundle is read by the job
    assert desk.work()["error"]["code"] == "learned_erased_images"
    with desk.service.platform.transactions() as work:
        child_there = work[Versions].get(marked.model, 3)
        work[Marks].add([child_there.digest], erasure.id)
        work.commit()
    again = desk.service.client.post(f"/v1/jobs/{again.json()['id']}/retry")
    assert code_of(again) == (409, "learned_erased_images")
    assert len(versions_of(desk)) == 1
    here = "/v1/models/demo/versions/2"
    assert "download" not in desk.get(here).json()["links"]
    for path in (f"{here}/download", f"{EXPORTS.format(2)}/bundle/download"):
        assert code_of(desk.get(path)) == (409, "learned_erased_images")
    assert code_of(desk.order("bundle", EXPORTS.format(2))) == (409, "learned_erased_images")


@EMBEDDED
def test_a_version_knows_what_its_line_learned_from_where_it_was_trained(desk: Desk) -> None:
    """Also what a bundle of a bundle leaves out of its line."""
    imported(desk, bundle_of(desk))
    line = [one["digest"] for one in desk.get("/v1/models/demo/versions").json()["data"]]
    (_, version) = versions_of(desk)
    assert version.origin is not None
    assert version.origin.learned_from == tuple(line[:2])
    assert desk.export("bundle", "/v1/models/copy/versions/2/exports")["status"] == "succeeded"
    again = desk.get("/v1/models/copy/versions/2/exports/bundle/download").content
    a_root(desk.service.platform, "third")
    assert send(desk, again, "/v1/models/third/imports").status_code == 202
    assert desk.work()["status"] == "succeeded"
    (_, third) = versions_of(desk, "third")
    assert third.origin is not None
    assert set(third.origin.learned_from) == set(line[:2])


@EMBEDDED
class TestWithoutAKey:
    """A service whose operator has set nothing neither signs nor trusts."""

    @pytest.fixture
    def settings(self, home: Path) -> Settings:
        return settings_of(home)

    def test_nothing_is_signed(self, desk: Desk) -> None:
        refused = desk.order("bundle", EXPORTS.format(3))
        assert code_of(refused) == (409, "signing_key_missing")
        assert code_of(desk.get("/v1/signing-key")) == (409, "signing_key_missing")
