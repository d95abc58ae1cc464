"""Blames that could not start are refused, and those that lose their ground on the way fail."""

from dataclasses import replace
from typing import Any

import pytest

from core.database.tables import answers
from core.database.work import Work
from core.datasets.freeze import freeze
from core.datasets.image_lists import Grouping
from core.datasets.manifests import Side
from core.datasets.rows import Datasets
from core.erasure.order import order_erasure
from core.erasure.rules import Retraining
from core.errors import (
    AnswersMissing,
    ArtifactGone,
    FieldInvalid,
    InUse,
    LearnedErasedImages,
    PerennialError,
    TooFewClasses,
    VersionNotFound,
)
from core.job_types.retry import retry_job
from core.jobs.orders import JobType
from core.jobs.queue import cancel_job
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus, Monitor
from core.registry.version_rows import Versions
from core.upkeep.delete import delete_version
from core.values import ErasureId
from tests.support.api.seeds import a_candidate
from tests.support.evaluation.blamed import Blamed, ordered
from tests.support.factories import NOW, a_dataset, digest, side_of
from tests.support.notifiers import RecordingNotifier
from tests.support.ordering import ME

pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)

REFUSED: list[tuple[dict[str, Any], type[PerennialError], str | None, str]] = [
    ({"version": 9}, VersionNotFound, None, "no such version"),
    ({"version": 1}, FieldInvalid, "/version", "A root or a conversion has learned from no images"),
    ({"class_name": "owl"}, FieldInvalid, "/class", "has test images of the class 'owl'."),
    (
        {"class_name": "dog", "suite": "easy"},
        FieldInvalid,
        "/class",
        "'easy' has no test images of the class 'dog'.",
    ),
    ({"suite": "hard"}, FieldInvalid, "/class", "'hard' has no test images"),
    ({"class_name": None, "suite": "hard"}, FieldInvalid, "/suite", "is named 'hard'."),
    ({"by": Grouping.CLASS}, TooFewClasses, "/by", "only the class 'dog' would be left"),
]


def test_a_blame_that_could_not_start_is_refused(blamed: Blamed) -> None:
    for changes, error, pointer, said in REFUSED:
        with pytest.raises(error) as refused:
            ordered(blamed, **changes)
        assert refused.value.pointer == pointer
        assert said in refused.value.message
    a_candidate(blamed.scene.platform, blamed.model)  # without its dataset
    with pytest.raises(FieldInvalid):
        ordered(blamed, version=3)
    with blamed.scene.platform.transactions(read_only=True) as work:
        assert not work[Jobs].page(1, None, job_type=JobType.BLAME)


def test_a_class_that_has_not_fallen_and_a_parent_without_weights_are_refused(
    blamed: Blamed,
) -> None:
    blamed.scene.update(
        blamed.model, blamed.scene.frozen("elk", "owl", offset=80), parent=2, auto_promote=False
    )
    assert blamed.scene.run().status is JobStatus.SUCCEEDED
    with pytest.raises(FieldInvalid) as refused:
        ordered(blamed, version=3, class_name=None, by=Grouping.RANDOM)
    assert refused.value.message == (
        "No class has fallen from version 2 to version 3: name the class."
    )
    with blamed.scene.platform.transactions() as work:
        work[Versions].release_weights(blamed.model.id, 2, NOW)
        work.commit()
    with pytest.raises(ArtifactGone):
        ordered(blamed, version=3, class_name="elk", by=Grouping.RANDOM)


def test_a_version_that_was_never_asked_is_refused_but_a_repeated_request_answered(
    blamed: Blamed,
) -> None:
    request = replace(ME, key="once", body=digest("a body"))
    job = ordered(blamed, request)
    work = blamed.scene.platform.transactions()
    assert isinstance(work, Work)
    with work:
        assert work._connection is not None
        work._connection.execute(answers.delete())
        work.commit()
    for changes in ({}, {"class_name": None}):
        with pytest.raises(AnswersMissing) as refused:
            ordered(blamed, **changes)
        assert "order an evaluation" in refused.value.message
    assert ordered(blamed, request) == job


def test_held_out_images_that_have_become_a_suites_keep_no_blame_from_running(
    blamed: Blamed,
) -> None:
    scene, dataset = blamed.scene, a_dataset(name="corrected")
    with scene.platform.transactions() as work:
        rows = work[Datasets].images(work[Datasets].get("taught").id)
        work[Datasets].add(dataset)
        held = [row for row in rows if side_of(row.image.group) is Side.HOLDOUT]
        work[Datasets].add_images(dataset.id, [replace(row, dataset=dataset.id) for row in held])
        version = freeze(work, scene.platform.artifacts, dataset, NOW)
        work.commit()
    scene.suite(blamed.model, version, name="corrected")
    ordered(blamed, suite="easy")
    assert scene.run().error is None


def test_a_version_is_kept_while_its_blame_waits(blamed: Blamed) -> None:
    job = ordered(blamed)
    with pytest.raises(InUse) as refused:
        delete_version(blamed.scene.platform, model="demo", version=2, reason="a test")
    assert refused.value.facts == {"jobs": [job.id]}
    cancel_job(blamed.scene.platform, job.id)
    again = retry_job(blamed.scene.platform, RecordingNotifier(), ME, job.id)
    assert (again.order, again.retry_of, again.type) == (job.order, job.id, "blame")
    assert (again.suites, again.policy) == (job.suites, job.policy)
    assert len(job.suites or ()) == 1


def test_an_erasure_of_what_is_learned_from_ends_the_blame(blamed: Blamed) -> None:
    ordered(blamed)

    def erase(monitor: Monitor) -> None:
        blamed.scene.script.training = lambda monitor: None
        with blamed.scene.platform.transactions() as work:
            work[Versions].mark(blamed.model.id, 2, ErasureId("era_1"))
            work.commit()

    blamed.scene.script.training = erase
    ended = blamed.scene.run()
    assert (ended.status, ended.result) == (JobStatus.FAILED, None)
    assert ended.error is not None
    assert ended.error["code"] == "learned_erased_images"
    with pytest.raises(LearnedErasedImages):
        ordered(blamed)


def test_an_erased_test_image_ends_the_blame_and_is_left_out_of_the_next(blamed: Blamed) -> None:
    job = ordered(blamed, suite="easy")
    answer = blamed.scene.script.answer

    def erase(version: Any, questions: Any, monitor: Monitor) -> Any:
        blamed.scene.script.answer = answer  # type: ignore[method-assign]
        tested = questions[0].entries[0].pixels
        order_erasure(
            blamed.scene.platform,
            RecordingNotifier(),
            ME,
            images=[tested],
            reason="asked for",
            retraining=Retraining.NONE,
        )
        assert blamed.scene.run().type == "erase"
        return answer(version, questions, monitor)

    blamed.scene.script.answer = erase  # type: ignore[method-assign]
    ended = blamed.scene.run()
    assert (ended.id, ended.status) == (job.id, JobStatus.FAILED)
    assert ended.error is not None
    assert ended.error["code"] == "image_erased"
