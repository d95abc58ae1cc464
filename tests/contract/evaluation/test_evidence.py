"""The evidence of reports as the service keeps it, also after collections and erasures."""

import io

import pytest

from core.bundles.evidence import EvidenceFile, read_evidence
from core.bundles.signing import Signatures
from core.bundles.write_evidence import write_evidence
from core.erasure.rules import Retraining
from core.errors import ArtifactMissing
from core.jobs.orders import EvaluateOrder
from core.jobs.rules import JobStatus
from core.registry.evidence import grow_holdout
from core.registry.versions import Model
from core.values import Digest
from tests.support.bundles import OURS
from tests.support.erasures import erase
from tests.support.evaluation.judged import a_judged_model, go_live, judged_by, update
from tests.support.scene import Scene
from tests.support.storage.collecting import tidy

MANY = 1000  # forms: no two images have the same bytes


def evidence(scene: Scene, model: Model, number: int, report: Digest | None = None) -> EvidenceFile:
    version = scene.version(model, number)
    report = report or version.report
    assert report is not None
    signatures = Signatures(OURS.private, {})
    return read_evidence(io.BytesIO(write_evidence(scene.platform, signatures, version, report)))


def test_every_report_of_a_line_follows_from_what_is_kept(scene: Scene) -> None:
    model = a_judged_model(scene)
    update(scene, model, "cat", "dog", auto_promote=False)
    go_live(scene, model, 2, reason="good")
    update(scene, model, "owl", "elk", parent=1, auto_promote=False)
    first = scene.version(model, 3).report
    scene.order(model, EvaluateOrder(version=3, alias="other"))
    scene.run()
    tidy(scene)
    for number in (2, 3):
        assert evidence(scene, model, number).differences() == []
    live = evidence(scene, model, 3, first)
    assert (live.report["live"], live.differences()) == (2, [])
    assert [one["beside"] for one in live.facts["verdicts"]] == [1, 2]
    assert live.report != evidence(scene, model, 3).report
    ours = Signatures("", {"ours": OURS.public})
    assert ours.signer_of(live.envelope).name == "ours"


def test_evidence_that_was_given_out_stays_as_it_is(scene: Scene) -> None:
    """Scoring a version again to the same report leaves the digest that somebody has printed."""
    model = a_judged_model(scene)
    update(scene, model, "cat", "dog", auto_promote=False)
    before = evidence(scene, model, 2)
    scene.order(model, EvaluateOrder(version=2))
    again = scene.run().result
    assert again is not None
    assert again["report"] == before.facts["report"]
    assert evidence(scene, model, 2).digest == before.digest


def test_after_an_erasure_evidence_says_how_many_images_are_gone(scene: Scene) -> None:
    model = scene.model()
    judged_by(scene, model)
    suite = scene.frozen("hat", "bag", each=30, offset=500, forms=MANY)
    scene.suite(model, suite, name="easy")
    for parent, classes in enumerate((("cat", "dog"), ("owl", "elk")), 1):
        data = scene.frozen(*classes, each=15, offset=40 * parent, forms=MANY)
        scene.learn(model, data, parent=parent, auto_promote=False)
    before = evidence(scene, model, 3)
    held = {one["name"]: before.parts[one["file"]] for one in before.facts["images"]}
    gone = [row[0] for row in held["version 2"][:2]] + [held["easy"][0][0]]
    erase(scene, *map(Digest, gone), retraining=Retraining.NONE)
    after = evidence(scene, model, 3)
    assert after.erased == {"easy": 1, "version 2": 2}
    assert after.digest == before.digest
    left = str(after.parts)
    assert not any(pixels in left for pixels in gone)
    kept = {one["file"] for one in before.facts["images"] if one["name"] == "version 3"}
    assert kept <= after.parts.keys()
    scene.order(model, EvaluateOrder(version=3))
    ended = scene.run()
    assert ended.status is JobStatus.SUCCEEDED, ended.error
    assert evidence(scene, model, 3, ended.result["report"]).differences() == []


def test_evidence_of_a_holdout_that_has_grown_counts_each_erased_image_once(scene: Scene) -> None:
    model = scene.model()
    judged_by(scene, model)
    scene.suite(model, scene.frozen("hat", "bag", each=30, offset=500, forms=MANY), name="easy")
    scene.learn(model, scene.frozen("cat", "dog", each=30, offset=40, forms=MANY))
    more = scene.frozen("cat", "dog", each=10, offset=200, forms=MANY)
    grow_holdout(
        scene.platform,
        model=model.name,
        version=2,
        dataset=more.dataset,
        dataset_version=more.number,
        reason="a test",
    )
    scene.learn(model, scene.frozen("owl", "elk", each=15, offset=300, forms=MANY), parent=2)
    before = evidence(scene, model, 3)
    counts = {one["name"]: one["count"] for one in before.facts["images"]}
    first = counts.pop("version 2, at first")
    assert first < counts["version 2"]
    assert before.images == sum(counts.values())
    held = {one["name"]: before.parts[one["file"]] for one in before.facts["images"]}
    at_first = {row[0] for row in held["version 2, at first"]}
    added = {row[0] for row in held["version 2"]} - at_first
    erase(scene, Digest(min(added)), retraining=Retraining.NONE)
    assert evidence(scene, model, 3).erased == {"version 2": 1}
    erase(scene, Digest(min(at_first)), retraining=Retraining.NONE)
    assert evidence(scene, model, 3).erased == {"version 2": 2}


def test_a_report_whose_evidence_was_lost_is_told_from_one_that_has_it(scene: Scene) -> None:
    model = a_judged_model(scene)
    update(scene, model, "cat", "dog", auto_promote=False)
    with pytest.raises(ArtifactMissing):
        evidence(scene, model, 2, Digest("0" * 64))
