"""Comparisons with an old index: what is stored, refused, and deleted with an image."""

import json

import pytest

from core.artifacts.store import ArtifactKind
from core.datasets.manifests import Side
from core.datasets.rules import DatasetVersion
from core.errors import IndexReportNotFound
from core.job_types.retry import retry_job
from core.jobs.queue import JobRequest
from core.jobs.rules import Job, JobStatus
from core.registry.versions import Model
from core.upkeep.delete import delete_version
from core.values import Digest, Json
from core.vectors.compare_index import order_comparison
from core.vectors.rows import IndexReports
from tests.support.api.seeds import a_candidate
from tests.support.erasures import entry_of, erase
from tests.support.erasures import order as order_erasure
from tests.support.factories import TESTER
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.notifiers import SilentNotifier
from tests.support.scene import Scene
from tests.support.storage.collecting import tidy


@pytest.fixture
def model(scene: Scene) -> Model:
    """A model with a second version."""
    model = scene.model()
    a_candidate(scene.platform, model)
    return model


@pytest.fixture
def data(scene: Scene, model: Model) -> DatasetVersion:
    """160 images, about 32 of them in the validation part, by which the model is scored."""
    data = scene.frozen("cat", "dog", each=40, forms=1000)
    scene.suite(model, data, "pets")
    return data


def order(scene: Scene, version: int = 2, baseline: int | None = None) -> Job:
    return order_comparison(
        scene.platform,
        SilentNotifier(),
        JobRequest(principal=TESTER),
        model="demo",
        version=version,
        baseline=baseline,
    )


def report(scene: Scene, model: Model, version: int = 2, baseline: int = 1) -> Json:
    with scene.platform.transactions(read_only=True) as work:
        row = work[IndexReports].get(model.id, version, baseline)
    found: Json = json.loads(scene.platform.artifacts.get(row.report))
    assert scene.platform.artifacts.has(row.bridge)
    assert found["bridge"]["artifact"] == row.bridge
    return found


def test_the_verdict_is_the_result_and_in_the_report(
    scene: Scene, model: Model, data: DatasetVersion
) -> None:
    for lost, verdict in ((0.01, "index_holds"), (0.03, "bridge"), (0.2, "reembed")):
        scene.script.embedder.lost = lost
        order(scene)
        ended = scene.run()
        assert ended.status is JobStatus.SUCCEEDED, ended.error
        found = report(scene, model)
        assert ended.result == {
            "version": 2,
            "from": 1,
            "verdict": verdict,
            "reason": found["reason"],
        }
        (search,) = found["searches"]
        assert search["suite"] == "pets"
        assert search["judged"]
        assert search["raw_loss"]["value"] == pytest.approx(lost, abs=0.01)
    assert found["from_digest"] == scene.version(model, 1).digest


def test_reports_are_kept_for_each_baseline_and_the_newest_replaces(
    scene: Scene, model: Model, data: DatasetVersion
) -> None:
    for lost in (0.2, 0.0):
        scene.script.embedder.lost = lost
        order(scene)
        order(scene, version=1, baseline=2)
        assert {scene.run().status, scene.run().status} == {JobStatus.SUCCEEDED}
    assert report(scene, model)["verdict"] == "index_holds"
    assert report(scene, model, 1, 2)["from"] == 2
    assert tidy(scene).kept[ArtifactKind.VECTORS].count == 2
    delete_version(scene.platform, model=model.name, version=2, reason="a test")
    with pytest.raises(IndexReportNotFound):
        report(scene, model)
    assert report(scene, model, 1, 2)["from"] == 2


def index_reports(scene: Scene, model: Model) -> list[Digest]:
    """The artifacts of the reports of version 2."""
    with scene.platform.transactions(read_only=True) as work:
        return [row.report for row in work[IndexReports].all(model.id, 2)]


def test_an_erasure_from_a_suite_deletes_what_was_fitted_on_it(
    scene: Scene, model: Model, data: DatasetVersion, artifacts: MemoryArtifacts
) -> None:
    order(scene)
    scene.run()
    found = report(scene, model)
    bridge, pixels = found["bridge"]["artifact"], entry_of(scene, data, Side.HOLDOUT).pixels
    assert found["maps"][0]["images"]
    (stored,) = index_reports(scene, model)
    erasure = erase(scene, pixels)
    for file in (bridge, stored):
        assert file in erasure.findings.vectors
        assert not artifacts.has(file)
    with pytest.raises(IndexReportNotFound):
        report(scene, model)
    order(scene)
    assert scene.run().status is JobStatus.SUCCEEDED  # on what is left


def test_holdouts_of_the_updates_between_are_searched_too(
    scene: Scene, model: Model, data: DatasetVersion
) -> None:
    taught = [
        scene.frozen("owl", "bee", each=20, offset=500, forms=5000),
        scene.frozen("ant", "elk", each=20, offset=600, forms=5000),
    ]
    for each in taught:
        scene.update(model, each, parent=1 if each is taught[0] else 3)
        assert scene.run().version is not None
    order(scene, 4, 1)
    order(scene, 4, 3)
    order(scene, 2, 4)  # of another branch
    for _ in range(3):
        assert scene.run().status is JobStatus.SUCCEEDED
    found = {
        (version, baseline): [
            one["suite"] for one in report(scene, model, version, baseline)["vectors"]
        ]
        for version, baseline in ((4, 1), (4, 3), (2, 4))
    }
    assert found[4, 1] == ["pets", "version 3", "version 4"]
    assert found[4, 3] == ["pets", "version 4"]
    assert found[2, 4] == ["pets"]
    erase(scene, entry_of(scene, taught[0], Side.HOLDOUT).pixels)
    with pytest.raises(IndexReportNotFound):
        report(scene, model, 4, 1)
    assert report(scene, model, 4, 3)


def test_nothing_is_stored_if_an_image_is_erased_meanwhile(
    scene: Scene, model: Model, data: DatasetVersion
) -> None:
    pixels = entry_of(scene, data, Side.TRAIN).pixels

    def meanwhile() -> None:
        order_erasure(scene, pixels)
        assert scene.run().status is JobStatus.SUCCEEDED

    scene.script.embedder.meanwhile = meanwhile
    order(scene)
    ended = scene.run()
    assert ended.error is not None
    assert ended.error["code"] == "image_erased"
    with pytest.raises(IndexReportNotFound):
        report(scene, model)
    again = retry_job(scene.platform, SilentNotifier(), JobRequest(principal=TESTER), ended.id)
    scene.script.embedder.meanwhile = lambda: None
    assert (scene.run().id, scene.job(again).status) == (again.id, JobStatus.SUCCEEDED)
