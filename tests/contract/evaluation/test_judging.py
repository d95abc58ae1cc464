"""Evaluation and promotion where bytes are gone, or somebody else is at it too."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any
from unittest.mock import Mock

import pytest

from core.access.rows import Keys
from core.audit.rows import AuditTrail
from core.audit.rules import Action, AuditFilter
from core.database.work import Work
from core.errors import GateFailed, StaleRevision
from core.evaluation.answers import Answers, ClassAnswers
from core.evaluation.judge import build_report
from core.evaluation.queries import ClassQuery, EvalQuery
from core.evaluation.report import Report
from core.evaluation.rows import AnswerCache
from core.gate.rules import Verdict
from core.jobs.orders import EvaluateOrder, UpdateOrder
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus, Monitor
from core.principal import Role
from core.recipes.rules import Recipe
from core.registry.alias_rows import Aliases
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version, VersionStatus
from core.rejection.rules import Calibration
from core.values import Digest
from tests.support.api.seeds import a_candidate
from tests.support.evaluation.each_class import knowing_each
from tests.support.evaluation.judged import a_judged_model, go_live, judged_by
from tests.support.factories import NOW, a_key, digest
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.processes import wait_for
from tests.support.scene import Scene
from tests.support.storage.databases import waiting

LATE_S = 60.0  # the machine may be busy


def test_answers_that_are_gone_or_damaged_are_asked_again(
    scene: Scene, artifacts: MemoryArtifacts
) -> None:
    model = scene.model()
    scene.script.wrong = {scene.version(model, 1).digest}
    scene.update(model, scene.frozen("cat", "dog"))
    scene.run()
    stored = {key for key, data in artifacts.bytes_of.items() if b'"predicted"' in data}
    with scene.platform.transactions(read_only=True) as work:
        asked = (
            {one for pair in scene.script.asked_questions for one in [pair[n]]} for n in (0, 1)
        )
        gone, damaged = stored & {*work[AnswerCache].stored(*asked).values()}
    artifacts.delete(gone)
    artifacts.bytes_of[damaged] = b"damaged"
    scene.script.asked.clear()
    scene.order(model, EvaluateOrder(version=2))
    assert scene.run().status is JobStatus.SUCCEEDED
    assert len(scene.script.asked) == 2


def test_probabilities_that_are_damaged_are_asked_for_again(
    scene: Scene, artifacts: MemoryArtifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = scene.model()
    knowing_each(scene, model, monkeypatch, {1: ("cat",), 2: ("cat", "dog")})
    scene.update(model, scene.frozen("cat", "dog"))
    scene.run()
    whole = {key: data for key, data in artifacts.bytes_of.items() if b'"probabilities"' in data}
    artifacts.bytes_of |= dict.fromkeys(whole, b"damaged")
    scene.order(model, EvaluateOrder(version=2))
    assert scene.run().status is JobStatus.SUCCEEDED
    assert whole
    assert whole.items() <= artifacts.bytes_of.items()


def test_lost_report_of_the_parent_does_not_keep_its_children_from_being_scored(
    scene: Scene, artifacts: MemoryArtifacts
) -> None:
    model = scene.model()
    scene.update(model, scene.frozen("cat", "dog"))
    scene.run()
    artifacts.delete(report_of(scene.version(model, 2)))
    scene.update(model, scene.frozen("owl", "elk"), parent=2)
    ended = scene.run()
    assert (ended.status, ended.error) == (JobStatus.SUCCEEDED, None)


def test_worker_whose_lease_is_lost_remembers_no_answer(scene: Scene) -> None:
    model = scene.model()
    scene.update(model, scene.frozen("cat", "dog"))

    def lose_the_lease(monitor: Monitor) -> None:
        with scene.platform.transactions() as work:
            work[Jobs].release_owner("w")
            assert work[Jobs].claim("another", 60, 3) is not None
            work.commit()

    scene.script.evaluating = lose_the_lease
    scene.run()
    with scene.platform.transactions(read_only=True) as work:
        assert scene.script.asked_questions
        for version, question in scene.script.asked_questions:
            assert not work[AnswerCache].stored([version], [question])


def test_passed_candidate_goes_live_by_itself(scene: Scene) -> None:
    model = guarded(scene)
    ended = scene.run()
    assert ended.result is not None
    told = {"alias": "production", "moved": True, "reason": "passed", "revision": 2}
    assert ended.result["promotion"] == told
    assert (scene.live(model), scene.version(model, 2).status) == (2, VersionStatus.PROMOTED)
    with scene.platform.transactions(read_only=True) as work:
        row = work[Aliases].history(model.id, "production")[-1]
        (event,) = work[AuditTrail].page(9, None, AuditFilter(action=Action.ALIAS_MOVED))
    assert (row.reason, row.actor) == ("passed the gate", f"job {ended.id}")
    assert (row.from_version, row.override) == (1, False)
    change = event.change
    assert (change.actor, change.key, change.request_id) == (row.actor, None, None)
    assert change.subject == f"models/{model.name}/aliases/production"
    assert (change.before, change.after) == ({"version": 1}, {"version": 2, "override": False})
    assert change.reason == row.reason


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        ({"revoked_at": NOW}, "key_not_live"),
        ({"expires_at": NOW}, "key_not_live"),
        ({"role": Role.CONTRIBUTOR}, "forbidden"),
        ({"role": Role.OPERATOR, "models": ("another",)}, "forbidden"),
        ({"role": Role.OPERATOR}, "passed"),
    ],
)
def test_update_moves_no_alias_for_a_key_that_may_not_move_it_any_more(
    scene: Scene, now: dict[str, Any], reason: str
) -> None:
    model, key = a_model_with_a_guard(scene), a_key(**now)
    data = scene.frozen("cat", "dog", each=8)
    order = UpdateOrder(dataset=data.dataset, dataset_version=data.number, recipe=Recipe())
    scene.order(model, order, ordered_by=key.id)
    scene.script.wrong, scene.script.tenths = {scene.version(model, 1).digest}, 6
    with scene.platform.transactions() as work:
        work[Keys].add(key, digest("its secret"))
        work.commit()
    ended = scene.run()
    assert ended.result is not None
    assert ended.result["promotion"]["reason"] == reason
    assert scene.live(model) == (2 if reason == "passed" else 1)


def test_alias_that_moves_as_the_verdict_is_written_blocks_the_promotion_by_name(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = guarded(scene)
    monkeypatch.setattr(Aliases, "move", Mock(side_effect=StaleRevision))
    ended = scene.run()
    assert (ended.status, ended.error) == (JobStatus.SUCCEEDED, None)
    assert ended.result is not None
    assert ended.result["verdict"] == "passed"
    told = {"alias": "production", "moved": False, "reason": "stale_base", "alias_version": 1}
    assert ended.result["promotion"] == told
    assert scene.live(model) == 1
    assert scene.version(model, 2).status is VersionStatus.CANDIDATE


def test_version_that_goes_live_while_it_is_scored_again_stays_promoted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = scene.model()
    scene.update(model, scene.frozen("cat", "dog"))
    scene.run()
    scene.order(model, EvaluateOrder(version=2))  # everything has been asked
    judged, locked, begins = Event(), Event(), Event()
    enter = Work.__enter__

    def built(*given: Any, **more: Any) -> Report:
        report = build_report(*given, **more)
        judged.set()
        assert locked.wait(LATE_S)
        return report

    def entered(work: Work) -> Work:
        if locked.is_set():
            begins.set()
        return enter(work)

    monkeypatch.setattr("core.evaluation.evaluate.build_report", built)
    monkeypatch.setattr(Work, "__enter__", entered)
    with ThreadPoolExecutor(1) as pool:
        scored = pool.submit(scene.run)
        assert judged.wait(LATE_S)
        with scene.platform.transactions() as work:
            version = work[Versions].get(model.id, 2, lock=True)
            work[Versions].save(version.went_live())
            locked.set()
            assert begins.wait(LATE_S)
            if work.connection.dialect.name == "postgresql":  # SQLite waits as it begins
                wait_for(lambda: waiting(scene.platform.transactions), seconds=LATE_S)
            work.commit()
        assert scored.result().status is JobStatus.SUCCEEDED
    assert scene.version(model, 2).status is VersionStatus.PROMOTED


def test_refusal_at_the_gate_does_not_need_the_report(
    scene: Scene, artifacts: MemoryArtifacts
) -> None:
    model = scene.model()
    failed = a_candidate(scene.platform, model, verdict=Verdict.FAILED)
    artifacts.delete(report_of(failed))
    with pytest.raises(GateFailed) as refusal:
        go_live(scene, model, 2)
    assert refusal.value.facts["scores"] == {}


def test_candidate_that_gives_no_numbers_has_failed_and_the_job_says_so(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = guarded(scene)
    answer = scene.script.answer

    def answer_or_not(
        version: Digest, questions: Sequence[EvalQuery], monitor: Monitor
    ) -> Sequence[Answers]:
        given = answer(version, questions, monitor)
        if version != scene.version(model, 2).digest:
            return given
        return [
            ClassAnswers(predicted=(len(question.classes),) * len(question.entries))
            if isinstance(question, ClassQuery)
            else Calibration()
            for question in questions
        ]

    monkeypatch.setattr(scene.script, "answer", answer_or_not)
    ended = scene.run()
    assert (ended.status, ended.error) == (JobStatus.SUCCEEDED, None)
    assert ended.result is not None
    assert ended.result["promotion"]["reason"] == "gate_failed"
    report = scene.platform.artifacts.get(report_of(scene.version(model, 2)))
    assert b"contain NaN or infinity" in report


def report_of(version: Version) -> Digest:
    assert version.report is not None
    return version.report


def a_model_with_a_guard(scene: Scene) -> Model:
    """One whose suite guards though the root is hardly more often right than by one answer."""
    model = a_judged_model(scene)
    judged_by(scene, model, name="wide", parent_tolerance=1.0, root_tolerance=1.0)
    return model


def guarded(scene: Scene) -> Model:
    """A model with a suite, and a queued update that passes: the root is often wrong."""
    model = a_model_with_a_guard(scene)
    scene.update(model, scene.frozen("cat", "dog", each=8))
    scene.script.wrong, scene.script.tenths = {scene.version(model, 1).digest}, 6
    return model
