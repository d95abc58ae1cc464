"""Versions in another precision: the same tensors, another digest, a verdict of their own."""

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from core.bundles.evidence import read_evidence
from core.bundles.signing import Signatures
from core.bundles.write_evidence import write_evidence
from core.datasets.manifests import Side
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetVersion
from core.erasure.order import certify
from core.erasure.rules import ErasureStatus
from core.errors import (
    AliasNotFound,
    ArtifactGone,
    DatabaseUnavailable,
    EngineUnavailable,
    FieldInvalid,
    Forbidden,
    GateFailed,
    LearnedErasedImages,
    VersionNotFound,
)
from core.evaluation.answers import Answers
from core.evaluation.judge_again import judge_again
from core.evaluation.queries import EvalQuery
from core.gate.rows import Policies
from core.gate.rules import Verdict
from core.jobs.orders import ConvertOrder, EvaluateOrder
from core.jobs.queue import JobRequest, cancel_job
from core.jobs.rules import Job, JobStatus, Monitor
from core.principal import Principal, Role
from core.registry.verdict_rows import Verdicts
from core.registry.version_rows import Versions
from core.registry.versions import Model, ServingPrecision, VersionStatus, Weights
from core.training.convert import order_conversion
from core.trials.rows import Trials
from core.trials.rules import TrialEnd, TrialMode
from core.trials.run import end_failed_canaries, start_trial
from core.values import Digest
from tests.support.api.seeds import a_candidate, a_verdict
from tests.support.bundles import OURS
from tests.support.erasures import entry_of, erase, followed
from tests.support.evaluation.each_class import knowing_each
from tests.support.evaluation.judged import (
    CATS,
    OWLS,
    SUITES,
    a_judged_model,
    against,
    go_back,
    go_live,
    judged_by,
    report,
    update,
)
from tests.support.factories import NOW
from tests.support.notifiers import RecordingNotifier
from tests.support.ordering import ME
from tests.support.scene import Scene
from tests.support.tools import run_next

BF16, FP32 = ServingPrecision.BF16, ServingPrecision.FP32


@pytest.fixture
def model(scene: Scene) -> Model:
    """A model whose version 2 has learned cats and is live."""
    made = a_judged_model(scene)
    judged_by(scene, made, holdout_tolerance=0.2, settled_tolerance=0.3)
    return made


@pytest.fixture
def known(scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch) -> dict[int, Any]:
    """The classes that each version knows; version 2 is live."""
    classes = dict.fromkeys(range(2, 9), SUITES + CATS) | {1: SUITES}
    knowing_each(scene, model, monkeypatch, classes)
    update(scene, model, *CATS)
    assert scene.live(model) == 2
    return classes


def convert(scene: Scene, model: Model, **changes: Any) -> Job:
    """Convert what is live, and see it through."""
    order = replace(ConvertOrder(precision=BF16), **changes)
    scene.order(model, order)
    return scene.run()


def made_of(scene: Scene, model: Model, number: int) -> Weights:
    digest = scene.version(model, number).digest
    return Weights.from_bytes(scene.platform.artifacts.get(digest))


def lesson_of(scene: Scene, model: Model, number: int) -> DatasetVersion:
    data = scene.version(model, number).data
    assert data is not None
    with scene.platform.transactions(read_only=True) as work:
        return work[Datasets].version(data.dataset, data.version)


# ---- What is made ---------------------------------------------------------------------------


def test_a_conversion_has_its_parents_tensors_and_goes_live_without_a_gain(
    scene: Scene, model: Model, known: dict[int, Any]
) -> None:
    job = convert(scene, model)
    assert (job.status, job.parent_version) == (JobStatus.SUCCEEDED, 2), job.error
    parent, made = scene.version(model, 2), scene.version(model, 3)
    assert (made.precision, made.parent, made.is_conversion) == (BF16, 2, True)
    assert (made.classes, made.prompt) == (parent.classes, parent.prompt)
    assert made.feature_statistics == parent.feature_statistics != {}
    assert (made.update_classes, made.recipe, made.data) == ((), None, None)
    weights = made_of(scene, model, 3)
    assert weights.tensors == made_of(scene, model, 2).tensors
    assert weights.config["precision"] == "bf16"
    assert made.digest != parent.digest
    assert (made.verdict, made.status) == (Verdict.PASSED, VersionStatus.PROMOTED)
    assert job.result is not None
    assert job.result["promotion"]["moved"]
    assert scene.live(model) == 3


def test_a_conversion_is_asked_about_the_update_that_made_its_parent(
    scene: Scene, model: Model, known: dict[int, Any]
) -> None:
    known[3] = SUITES  # it lost the cats
    job = convert(scene, model)
    assert job.result is not None
    assert job.result["verdict"] == "failed"
    assert job.result["promotion"] == {
        "alias": "production",
        "moved": False,
        "reason": "gate_failed",
    }
    assert scene.live(model) == 2
    found = report(scene, model, 3)
    assert {one.name for one in against(found, "parent and settled version")} == {"version 2"}
    assert found.converted
    assert found.summary.learned.startswith("It was taught nothing")
    with pytest.raises(GateFailed):
        go_live(scene, model, 3, reason="bf16 is faster")


def test_what_nothing_guards_is_for_a_person_to_convert(
    scene: Scene, model: Model, known: dict[int, Any]
) -> None:
    judged_by(scene, model, minimum_count=1000)
    job = convert(scene, model)
    assert job.result is not None
    assert job.result["verdict"] == "inconclusive"
    told = report(scene, model, 3).summary.go_live
    assert "too few test images guard" in told
    assert "learned" not in told
    assert scene.live(model) == 2


def test_updates_of_a_conversion_inherit_its_precision(
    scene: Scene, model: Model, known: dict[int, Any]
) -> None:
    convert(scene, model)
    known[4] = SUITES + CATS + OWLS
    update(scene, model, *OWLS)
    spec = scene.script.tasks[-1]
    assert spec.parent == scene.version(model, 3).digest
    assert spec.feature_statistics == scene.version(model, 3).feature_statistics
    assert scene.version(model, 4).precision is BF16
    assert not scene.version(model, 4).is_conversion


def test_back_in_fp32_a_version_has_the_weights_that_it_had(
    scene: Scene, model: Model, known: dict[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(scene, model)
    monkeypatch.undo()  # two versions have one digest now
    job = convert(scene, model, precision=FP32)
    assert job.status is JobStatus.SUCCEEDED, job.error
    again = scene.version(model, 4)
    assert (again.precision, again.parent) == (FP32, 3)
    assert again.digest == scene.version(model, 2).digest


def test_anyone_can_recompute_the_verdict_on_a_conversion(
    scene: Scene, model: Model, known: dict[int, Any]
) -> None:
    convert(scene, model)
    version = scene.version(model, 3)
    assert version.report is not None
    file = write_evidence(scene.platform, Signatures(OURS.private, {}), version, version.report)
    found = read_evidence(io.BytesIO(file))
    assert found.differences() == []
    assert found.facts["versions"][0]["precision"] == "bf16"
    with scene.platform.transactions(read_only=True) as work:
        policy = work[Policies].get(model.policy)
    judged = judge_again(report(scene, model, 3), replace(policy, minimum_count=1, alpha=0.2))
    assert "own holdout" not in " ".join(judged.reasons)


# ---- What is refused ------------------------------------------------------------------------


def ordered(scene: Scene, model: Model, who: Principal | None = None, **changes: Any) -> Job:
    order = replace(ConvertOrder(precision=BF16), **changes)
    request = JobRequest(principal=who) if who else ME
    return order_conversion(
        scene.platform, RecordingNotifier(), request, model=model.name, order=order
    )


def test_what_could_not_start_is_refused(scene: Scene, model: Model, known: dict[int, Any]) -> None:
    with pytest.raises(FieldInvalid, match="Version 2 is computed in fp32 already"):
        ordered(scene, model, precision=FP32)
    with pytest.raises(VersionNotFound):
        ordered(scene, model, parent=9)
    with pytest.raises(AliasNotFound):
        ordered(scene, model, alias="staging")
    with scene.platform.transactions() as work:
        work[Versions].release_weights(model.id, 2, NOW)
        work.commit()
    with pytest.raises(ArtifactGone):
        ordered(scene, model)


def test_a_second_conversion_of_what_is_live_fails_when_it_is_claimed(
    scene: Scene, model: Model, known: dict[int, Any]
) -> None:
    first, second = ordered(scene, model), ordered(scene, model)
    assert scene.run().id == first.id
    ended = scene.run()
    assert (ended.id, ended.status) == (second.id, JobStatus.FAILED)
    assert ended.error is not None
    assert ended.error["code"] == "field_invalid"
    assert len(scene.versions(model)) == 3


def test_what_learned_erased_images_is_not_converted(
    scene: Scene, model: Model, known: dict[int, Any]
) -> None:
    erase(scene, entry_of(scene, lesson_of(scene, model, 2), Side.TRAIN).pixels)
    with pytest.raises(LearnedErasedImages):
        ordered(scene, model)


# ---- Who wants to break it ------------------------------------------------------------------


def test_a_contributor_gets_no_conversion_live(
    scene: Scene, model: Model, known: dict[int, Any]
) -> None:
    who = Principal(name="c", role=Role.CONTRIBUTOR)
    with pytest.raises(Forbidden):
        ordered(scene, model, who)
    ordered(scene, model, who, auto_promote=False)
    job = scene.run()
    assert job.result is not None
    assert job.result["promotion"]["reason"] == "not_asked_for"
    assert scene.live(model) == 2


def test_a_conversion_does_not_wash_off_that_its_parent_learned_nothing(
    scene: Scene, model: Model, known: dict[int, Any]
) -> None:
    """Version 3 fails, as it does not know its own classes; nobody asks version 4 about these."""
    judged_by(scene, model, wanted_gain=0.2)
    update(scene, model, *OWLS)
    assert scene.version(model, 3).verdict is Verdict.FAILED
    convert(scene, model, parent=3)
    assert scene.version(model, 4).verdict is Verdict.PASSED
    convert(scene, model, parent=4, precision=FP32)
    assert scene.live(model) == 2
    for number, why in ((4, "converted and not taught"), (5, "on version 3 beside version 2")):
        with pytest.raises(GateFailed, match=why) as refusal:
            go_live(scene, model, number, reason="it passed")
        assert refusal.value.facts["version"] == 3


def test_a_conversion_of_what_has_failed_is_neither_gone_back_to_nor_answers_as_a_canary(
    scene: Scene, model: Model, known: dict[int, Any]
) -> None:
    """It has its tensors, whichever of the two was judged again, and by whatever suites."""
    convert(scene, model)
    a_candidate(scene.platform, model, verdict=Verdict.PASSED, parent=3, teaches=("elk", *CATS))
    go_live(scene, model, 4)
    go_live(scene, model, 1, alias="staging", expected_revision=0)
    scene.order(model, EvaluateOrder(version=3, alias="staging"))
    assert scene.run().result["verdict"] == "passed"
    canary = start_trial(
        scene.platform,
        model=model.name,
        alias="staging",
        candidate=3,
        mode=TrialMode.CANARY,
        share=0.5,
        expected_revision=1,
        reason="",
    )
    scene.suite(model, scene.frozen("sun", "moon", each=4, offset=900), name="one-more")
    with scene.platform.transactions() as work:
        judged = work[Versions].get(model.id, 2, lock=True)
        a_verdict(scene.platform, work, judged, Verdict.FAILED, images=10_000)
        end_failed_canaries(work, judged, actor="a test", now=NOW)
        assert work[Trials].get(canary.id).end is TrialEnd.FAILED
        work.commit()
    with pytest.raises(GateFailed, match="version 2 beside version 1 is 'failed'"):
        go_back(scene, model, to=3)
    assert go_back(scene, model) == 1


def test_a_conversion_of_what_passed_and_is_not_live_goes_live_by_its_verdict(
    scene: Scene, model: Model, known: dict[int, Any]
) -> None:
    known |= {3: SUITES + CATS + OWLS, 4: SUITES + CATS + OWLS}
    update(scene, model, *OWLS, auto_promote=False)
    job = convert(scene, model, parent=3)
    assert job.result is not None
    assert job.result["promotion"]["reason"] == "stale_base"
    go_live(scene, model, 4)
    assert scene.live(model) == 4


def test_a_conversion_of_what_was_not_judged_beside_what_is_live_takes_a_reason(
    scene: Scene, model: Model, known: dict[int, Any]
) -> None:
    known |= {3: SUITES + CATS + OWLS, 4: SUITES + CATS + OWLS}
    go_live(scene, model, 1, alias="staging", expected_revision=0)
    update(scene, model, *OWLS, parent=1, alias="staging", auto_promote=False)
    assert scene.version(model, 3).verdict is Verdict.PASSED
    convert(scene, model, parent=3)
    assert scene.version(model, 4).verdict is Verdict.PASSED
    with pytest.raises(GateFailed, match=r"nor judged it beside version 2: .* requires a reason"):
        go_live(scene, model, 4)
    go_live(scene, model, 4, reason="the cats are still there")
    assert scene.live(model) == 4


def test_a_conversion_that_loses_what_is_live_does_not_replace_it(
    scene: Scene, model: Model, known: dict[int, Any]
) -> None:
    """The root in bf16 has lost nothing that the root knew, and the cats of what is live."""
    known[3] = SUITES
    convert(scene, model, parent=1)
    with scene.platform.transactions(read_only=True) as work:
        found = work[Verdicts].on(model.id, 3)
    assert [(one.beside, one.verdict) for one in found] == [
        (1, Verdict.PASSED),
        (2, Verdict.FAILED),
    ]
    with pytest.raises(GateFailed):
        go_live(scene, model, 3, reason="faster")


# ---- Attempts -------------------------------------------------------------------------------


def test_a_second_attempt_goes_on_from_the_version_of_the_first(
    scene: Scene, model: Model, known: dict[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = scene.script.answer
    lost = Mock(side_effect=DatabaseUnavailable)
    monkeypatch.setattr(scene.script, "answer", lost)
    assert convert(scene, model).status is JobStatus.QUEUED
    assert len(scene.versions(model)) == 3
    monkeypatch.setattr(scene.script, "answer", answer)
    assert scene.run().status is JobStatus.SUCCEEDED
    assert len(scene.versions(model)) == 3
    assert scene.live(model) == 3


def test_each_attempt_converts_what_was_live_at_the_first(
    scene: Scene, model: Model, known: dict[int, Any]
) -> None:
    scene.order(model, ConvertOrder(precision=BF16))
    compiler = Mock()
    compiler.compile.side_effect = DatabaseUnavailable
    assert run_next(scene.platform, scene.script, compiler=compiler)
    go_live(scene, model, 1, override=True, reason="meanwhile")
    job = scene.run()
    assert (job.status, job.parent_version) == (JobStatus.SUCCEEDED, 2), job.error
    assert scene.live(model) == 1


def test_a_worker_that_cannot_compute_it_makes_no_version(
    scene: Scene, model: Model, known: dict[int, Any]
) -> None:
    job = scene.order(model, ConvertOrder(precision=BF16))
    compiler = Mock()
    compiler.compile.side_effect = EngineUnavailable
    run_next(scene.platform, scene.script, compiler=compiler)
    ended = scene.job(job)
    assert (ended.status, ended.error and ended.error["code"]) == (
        JobStatus.FAILED,
        "engine_unavailable",
    )
    assert len(scene.versions(model)) == 2


def test_a_conversion_that_is_cancelled_while_it_compiles_makes_no_version(
    scene: Scene, model: Model, known: dict[int, Any]
) -> None:
    job = scene.order(model, ConvertOrder(precision=BF16))

    def compile_(version: Digest, monitor: Monitor) -> None:
        cancel_job(scene.platform, job.id)
        monitor.advance("compiling", 1, 2)

    run_next(scene.platform, scene.script, compiler=Mock(compile=compile_))
    assert scene.job(job).status is JobStatus.CANCELLED
    assert len(scene.versions(model)) == 2


# ---- Another release of the engine ----------------------------------------------------------


def test_answers_in_bf16_of_another_release_than_a_workers_do_not_count(
    scene: Scene, model: Model, known: dict[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(scene, model)
    converted, parent = (scene.version(model, number) for number in (3, 2))
    asked = follow_questions(scene, monkeypatch)
    score = EvaluateOrder(version=3)
    scene.order(model, score)
    scene.run()
    assert not asked
    scene.script.openvino = "2026.0"
    known[3] = SUITES  # in the other numbers, it no longer knows a cat
    scene.order(model, score)
    job = scene.run()
    assert job.status is JobStatus.SUCCEEDED, job.error
    assert {*asked} == {converted.digest}  # what is in fp32 is not asked
    assert scene.version(model, 3).verdict is Verdict.FAILED
    asked.clear()
    scene.order(model, score)
    scene.run()
    assert not asked
    scene.order(model, EvaluateOrder(version=2))
    scene.run()
    assert parent.digest not in asked


def test_a_version_in_bf16_that_another_is_compared_with_is_asked_by_the_same_release(
    scene: Scene, model: Model, known: dict[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(scene, model)
    update(scene, model, *OWLS)
    parent, made = (scene.version(model, number) for number in (3, 4))
    assert (made.parent, made.precision) == (3, BF16)
    asked = follow_questions(scene, monkeypatch)
    scene.script.openvino = "2026.0"
    scene.order(model, EvaluateOrder(version=4))
    job = scene.run()
    assert job.status is JobStatus.SUCCEEDED, job.error
    assert {*asked} == {parent.digest, made.digest}


def test_a_version_without_weights_keeps_what_another_release_has_answered(
    scene: Scene, model: Model, known: dict[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(scene, model)
    update(scene, model, *OWLS)
    with scene.platform.transactions() as work:
        work[Versions].release_weights(model.id, 3, NOW)
        work.commit()
    asked = follow_questions(scene, monkeypatch)
    scene.order(model, EvaluateOrder(version=4))
    job = scene.run()
    assert job.status is JobStatus.SUCCEEDED, job.error
    scene.script.openvino = "2026.0"
    scene.order(model, EvaluateOrder(version=4))
    job = scene.run()
    assert job.status is JobStatus.SUCCEEDED, job.error
    assert {*asked} == {scene.version(model, 4).digest}


def follow_questions(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> list[Digest]:
    """The versions that are asked from now on, one a call."""
    asked, answer = list[Digest](), scene.script.answer

    def noted(
        version: Digest, questions: Sequence[EvalQuery], monitor: Monitor
    ) -> Sequence[Answers]:
        asked.append(version)
        return answer(version, questions, monitor)

    monkeypatch.setattr(scene.script, "answer", noted)
    return asked


# ---- Erasures -------------------------------------------------------------------------------


def test_an_erasure_converts_again_what_it_has_trained_again(scene: Scene, model: Model) -> None:
    for parent, classes in ((1, CATS), (3, OWLS)):
        data = scene.frozen(*classes, each=15, offset=40 * parent, forms=1000)
        scene.learn(model, data, parent=parent)
        if parent == 1:
            convert(scene, model, parent=2)
    lesson = lesson_of(scene, model, 2)
    erasure = erase(scene, entry_of(scene, lesson, Side.TRAIN).pixels)
    assert [scene.run().status for _ in range(3)] == [JobStatus.SUCCEEDED] * 3
    made = [(one.replaces, one.parent, one.precision) for one in scene.versions(model)[4:]]
    assert made == [(2, 1, FP32), (3, 5, BF16), (4, 6, BF16)]
    assert made_of(scene, model, 6).tensors == made_of(scene, model, 5).tensors
    assert followed(scene, erasure).status is ErasureStatus.DONE
    told = {one["version"]: one for one in certify(scene.platform, erasure.id)["versions"]}
    assert {number: one["obstacle"] for number, one in told.items()} == {2: None, 3: None, 4: None}
    assert told[3]["exact"] is True
