"""Scoring a version: its queries, the answers it keeps and the report."""

from collections.abc import Sequence
from dataclasses import replace
from unittest.mock import Mock, call

import pytest

from core.datasets.rules import DatasetKind
from core.errors import EvaluationPending, ReportNotFound
from core.evaluation.answers import Answers
from core.evaluation.evaluate import evaluate_version
from core.evaluation.queries import EvalQuery
from core.evaluation.rows import AnswerCache
from core.jobs.monitor import JobMonitor
from core.jobs.orders import EvaluateOrder
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus, Monitor
from core.registry.configure import configure_model
from core.registry.read import read_report, scores_of
from core.registry.version_rows import Versions
from core.registry.versions import Model
from core.values import Digest
from tests.support.api.seeds import a_candidate
from tests.support.evaluation.judged import report
from tests.support.factories import NOW, a_policy
from tests.support.scene import Scene

PAIRS = {2: ("cat", "dog"), 3: ("owl", "elk"), 4: ("ant", "bee"), 5: ("cod", "eel")}


def teach(scene: Scene, model: Model, number: int, *, parent: int) -> None:
    """Train and score a version; nothing goes live."""
    data = scene.frozen(*PAIRS[number], offset=20 * number)
    scene.update(model, data, parent=parent, auto_promote=False)
    ended = scene.run()
    assert (ended.status, ended.version) == (JobStatus.SUCCEEDED, number)


def test_scoring_ends_with_the_verdict_in_the_jobs_result_and_in_its_last_event(
    scene: Scene,
) -> None:
    model = scene.model()
    scene.update(model, scene.frozen("cat", "dog"))
    updated = scene.run()
    first = {
        "version": 2,
        "report": scene.version(model, 2).report,
        "verdict": "inconclusive",
        "promotion": {"alias": "production", "moved": False, "reason": "gate_inconclusive"},
    }
    assert updated.result == first
    scene.order(model, EvaluateOrder(version=2))
    scored = scene.run()
    second = {name: first[name] for name in ("version", "report", "verdict")}
    assert scored.result == second
    for job, result in ((updated, first), (scored, second)):
        last = scene.events(job)[-1]
        assert (last.kind, last.data) == ("done", {"status": "succeeded", **result})


def test_older_rows_of_the_matrix_come_from_the_parents_report(scene: Scene) -> None:
    model = scene.model()
    for number in (2, 3, 4):
        teach(scene, model, number, parent=number - 1)
    rows = {row.version: row.micro for row in report(scene, model, 4).matrix}
    # what version 2 knew of the next update was asked when version 3 was scored
    assert rows == {
        1: (1.0, 1.0, 1.0),
        2: (1.0, 1.0, None),
        3: (1.0, 1.0, 1.0),
        4: (1.0, 1.0, 1.0),
    }


def test_report_says_how_many_candidates_its_test_images_had_judged_before(scene: Scene) -> None:
    model = scene.model()
    teach(scene, model, 2, parent=1)
    assert report(scene, model, 2).judged_before == 0  # no suite, no test images
    scene.suite(model, scene.frozen("sun", "moon", offset=500), name="sky")
    for number, before in ((3, 0), (4, 1)):
        teach(scene, model, number, parent=1)
        assert report(scene, model, number).judged_before == before
    captioned = scene.frozen("a ring", "a dot", offset=600, kind=DatasetKind.CAPTIONED)
    scene.suite(model, captioned, name="shapes")
    teach(scene, model, 5, parent=1)
    assert report(scene, model, 5).judged_before == 2  # by the suite that judged most


def test_captioned_suite_counts_its_candidates_too(scene: Scene) -> None:
    model = scene.model()
    captioned = scene.frozen("a ring", "a dot", offset=600, kind=DatasetKind.CAPTIONED)
    scene.suite(model, captioned, name="shapes")
    for number, before in ((2, 0), (3, 1)):
        teach(scene, model, number, parent=1)
        assert report(scene, model, number).judged_before == before


def test_version_without_a_dataset_has_no_near_duplicates_and_can_be_scored(scene: Scene) -> None:
    model = scene.model()
    a_candidate(scene.platform, model)
    scene.order(model, EvaluateOrder(version=2))
    assert scene.run().status is JobStatus.SUCCEEDED
    found = report(scene, model, 2)
    assert (found.near_duplicates, found.tasks) == (0, ())


def test_suite_that_was_added_is_all_that_is_asked_when_a_version_is_scored_again(
    scene: Scene,
) -> None:
    model = scene.model()
    teach(scene, model, 2, parent=1)
    scene.suite(model, scene.frozen("sun", "moon", offset=500), name="sky")
    scene.script.asked_questions.clear()
    scene.order(model, EvaluateOrder(version=2))
    assert scene.run().status is JobStatus.SUCCEEDED
    versions = [scene.version(model, number).digest for number in (2, 1)]
    # over the suite's own classes, and over these and what was learned
    assert [version for version, _ in scene.script.asked_questions] == [
        version for version in versions for _ in range(2)
    ]
    assert {row.name for row in report(scene, model, 2).lists} == {"sky"}


def test_evaluator_that_leaves_a_question_out_fails_the_job_and_nothing_is_remembered(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = scene.model()
    scene.suite(model, scene.frozen("sun", "moon", offset=500), name="sky")
    answer = scene.script.answer

    def all_but_one(
        version: Digest, questions: Sequence[EvalQuery], monitor: Monitor
    ) -> Sequence[Answers]:
        return answer(version, questions, monitor)[:-1]

    monkeypatch.setattr(scene.script, "answer", all_but_one)
    scene.update(model, scene.frozen("cat", "dog"))
    assert scene.run().status is JobStatus.FAILED
    with scene.platform.transactions(read_only=True) as work:
        for version, question in scene.script.asked_questions:
            assert not work[AnswerCache].stored([version], [question])


def test_scoring_writes_what_it_found_in_one_transaction_and_else_only_reads(scene: Scene) -> None:
    """Count transactions: one that only reads waits for no writer."""
    model = scene.model()
    scene.suite(model, scene.frozen("sun", "moon", offset=500), name="sky")
    teach(scene, model, 2, parent=1)
    scene.order(model, EvaluateOrder(version=2))
    with scene.platform.transactions() as work:
        job = work[Jobs].claim("w", 60, 3)
        work.commit()
    assert job is not None
    counted = Mock(wraps=scene.platform.transactions)
    monitor = JobMonitor(scene.platform, job, stopping=lambda: False)
    evaluate_version(
        replace(scene.platform, transactions=counted), scene.script, job, 2, monitor, promote=None
    )
    reading = counted.call_args_list.count(call(read_only=True))
    assert (scene.job(job).status, counted.call_count - reading) == (JobStatus.SUCCEEDED, 1)


def test_report_that_is_not_there_is_refused_by_the_number_of_its_version(scene: Scene) -> None:
    model = scene.model()
    a_candidate(scene.platform, model)
    with pytest.raises(ReportNotFound) as root:
        read_report(scene.platform.artifacts, scene.version(model, 1))
    assert root.value.facts == {"version": 1}
    with pytest.raises(EvaluationPending) as pending:
        read_report(scene.platform.artifacts, scene.version(model, 2))
    assert pending.value.facts == {"version": 2}
    assert scores_of(scene.platform.artifacts, None) == {}


def with_views(scene: Scene, model: Model, views: int) -> None:
    """Judge a model by a policy with so many views from now on."""
    configure_model(
        scene.platform, model.id, suites=None, policy=a_policy(views=views), reason="a test"
    )


def soft_of(scene: Scene, model: Model, number: int) -> dict[str, int]:
    """The number of views by which the suite's measures were decided, by baseline."""
    found = report(scene, model, number).measures
    return {m.baseline: m.soft.views if m.soft else 0 for m in found if m.name == "sky"}


def asked_again(scene: Scene, model: Model, number: int) -> set[Digest]:
    """Score a version again, and return the versions that were asked anything."""
    scene.script.asked_questions.clear()
    scene.order(model, EvaluateOrder(version=number))
    assert scene.run().status is JobStatus.SUCCEEDED
    return {version for version, _ in scene.script.asked_questions}


def test_views_that_were_answered_are_kept_and_only_more_of_them_are_asked_for(
    scene: Scene,
) -> None:
    model = scene.model()
    scene.suite(model, scene.frozen("sun", "moon", offset=500), name="sky")
    with_views(scene, model, 3)
    teach(scene, model, 2, parent=1)
    assert soft_of(scene, model, 2) == {"parent and root": 3}
    for fewer in (3, 2):
        with_views(scene, model, fewer)
        assert asked_again(scene, model, 2) == set()
        assert soft_of(scene, model, 2) == {"parent and root": fewer}
    with_views(scene, model, 4)
    assert asked_again(scene, model, 2) == {
        scene.version(model, number).digest for number in (1, 2)
    }
    assert soft_of(scene, model, 2) == {"parent and root": 4}


def test_a_version_without_weights_and_views_is_compared_by_single_images(scene: Scene) -> None:
    """Version 3 is judged; its parent lost its weights before a policy asked for views."""
    model = scene.model()
    scene.suite(model, scene.frozen("sun", "moon", offset=500), name="sky")
    with_views(scene, model, 0)
    teach(scene, model, 2, parent=1)
    teach(scene, model, 3, parent=2)
    with scene.platform.transactions() as work:
        work[Versions].release_weights(model.id, 2, NOW)
        work.commit()
    with_views(scene, model, 3)
    assert scene.version(model, 2).digest not in asked_again(scene, model, 3)
    assert soft_of(scene, model, 3) == {"parent": 0, "live version and root": 3}
