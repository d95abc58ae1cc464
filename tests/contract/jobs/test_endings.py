"""Status, history and log of each way for a job to end or to be requeued."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from core import logs
from core.errors import (
    ArtifactsUnavailable,
    DatabaseUnavailable,
    Interruption,
    OutOfMemory,
    StopRequested,
    StorageFull,
    TrainingDiverged,
)
from core.gate.rows import Policies
from core.jobs.orders import EvaluateOrder, ImportOrder
from core.jobs.queue import cancel_job
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus, Monitor
from core.registry.rows import Models
from core.values import Json
from tests.support.api.seeds import a_candidate
from tests.support.factories import NOW, a_model
from tests.support.learning.training_jobs import STATE, raising, training
from tests.support.scene import Scene

Line = tuple[int, str]  # level and text

CLAIMED = (logging.INFO, "job claimed")


@dataclass(frozen=True, kw_only=True)
class Ending:
    """An error during training, and the state, event and log line that it leads to."""

    error: BaseException
    line: Line
    status: JobStatus = JobStatus.FAILED
    phase: str = "failed"
    told: Json | None = None  # the job's error
    event: tuple[str, Json] | None = None  # None: the end, with the error
    lost: int = 0
    facts: Json = field(default_factory=dict)  # which the log line has besides


def given_back(error: Exception, line: Line, lost: int = 0) -> Ending:
    return Ending(
        error=error,
        line=line,
        status=JobStatus.QUEUED,
        phase="training",
        event=("released", {}),
        lost=lost,
    )


ENDINGS = {
    "stop": given_back(
        StopRequested(), (logging.INFO, "job returned to the queue: this worker is stopping")
    ),
    "database away": given_back(
        DatabaseUnavailable(),
        (logging.WARNING, "job returned to the queue: the database was unavailable"),
        lost=1,
    ),
    "artifacts away": given_back(
        ArtifactsUnavailable("The bucket does not respond."),
        (logging.WARNING, "job returned to the queue: The bucket does not respond."),
    ),
    "disk full": Ending(
        error=StorageFull(needed_bytes=700, free_bytes=300),
        line=(logging.WARNING, "job paused: No storage space is left."),
        status=JobStatus.QUEUED,
        phase="storage_full",
        event=(
            "paused",
            {
                "reason": "storage_full",
                "needed_bytes": 700,
                "free_bytes": 300,
                "missing_bytes": 400,
                "retry_after_s": 4.0,
            },
        ),
    ),
    "named fault": Ending(
        error=TrainingDiverged("The loss is not finite.", step=7),
        line=(logging.WARNING, "job failed: The loss is not finite."),
        told={"code": "training_diverged", "message": "The loss is not finite.", "step": 7},
        facts={"code": "training_diverged"},
    ),
    "no memory": Ending(
        error=MemoryError(),
        line=(logging.WARNING, "job failed: out of memory"),
        told={"code": "out_of_memory", "message": OutOfMemory().message},
    ),
    "unforeseen": Ending(
        error=KeyError("tower"),
        line=(logging.ERROR, "job failed unexpectedly"),
        told={"code": "internal", "message": "KeyError: 'tower'"},
    ),
}


def lose_lease(scene: Scene) -> None:
    """Let another worker claim what this one holds."""
    with scene.platform.transactions() as work:
        work[Jobs].release_owner("w")
        assert work[Jobs].claim("another", 60, 3) is not None
        work.commit()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[Line]]:
    """The lines that the verbs have logged."""
    caplog.set_level(logging.INFO, logger="core.job_types")
    return lambda: [(line.levelno, line.getMessage()) for line in caplog.records]


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS.keys())
def test_each_way_to_end_is_told_by_status_history_and_log(
    scene: Scene,
    said: Callable[[], list[Line]],
    caplog: pytest.LogCaptureFixture,
    ending: Ending,
) -> None:
    job = training(scene, then=raising(ending.error))
    left = scene.run()
    assert (left.status, left.phase, left.error) == (ending.status, ending.phase, ending.told)
    assert (left.lost, left.finished_at) == (ending.lost, NOW if left.status.done else None)
    last = scene.events(job)[-1]
    assert ((last.kind, last.data), last.at) == (
        (ending.event or ("done", {"status": "failed", "error": ending.told})),
        NOW,
    )
    assert said() == [CLAIMED, ending.line]
    facts = vars(caplog.records[-1])
    assert {name: facts[name] for name in ending.facts} == ending.facts
    assert left.checkpoint == (None if left.status.done else STATE)
    assert scene.platform.artifacts.has(STATE) is not left.status.done


def test_a_job_that_is_cancelled_says_so_and_drops_its_checkpoint(
    scene: Scene, said: Callable[[], list[Line]]
) -> None:
    def cancel(monitor: Monitor) -> None:
        cancel_job(scene.platform, job.id)
        monitor.advance("training", 9, 9)

    job = training(scene, then=cancel)
    left = scene.run()
    assert (left.status, left.phase, left.finished_at) == (JobStatus.CANCELLED, "cancelled", NOW)
    last = scene.events(job)[-1]
    assert (last.kind, last.data) == ("done", {"status": "cancelled"})
    assert said() == [CLAIMED, (logging.INFO, "job cancelled")]
    assert not scene.platform.artifacts.has(STATE)


def test_a_job_that_succeeds_says_so(scene: Scene, said: Callable[[], list[Line]]) -> None:
    training(scene, then=lambda monitor: None)
    assert scene.run().status is JobStatus.SUCCEEDED
    assert said() == [CLAIMED, (logging.INFO, "job succeeded")]


def test_a_worker_whose_lease_is_lost_in_a_step_leaves_the_job_and_counts_nothing(
    scene: Scene, said: Callable[[], list[Line]]
) -> None:
    def go_on(monitor: Monitor) -> None:
        lose_lease(scene)
        monitor.advance("training", 9, 9)

    job = training(scene, then=go_on)
    left = scene.run()
    assert (left.status, left.fence) == (JobStatus.RUNNING, 2)
    assert scene.events(job)[-1].kind == "checkpoint"
    assert said() == [
        CLAIMED,
        (logging.WARNING, "lost the lease: another worker now runs the job"),
    ]
    assert "training" not in scene.phase_seconds()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            StopRequested(),
            (logging.WARNING, "lost the lease: the job was not returned to the queue"),
        ),
        (StorageFull(), (logging.WARNING, "lost the lease: the job was not paused")),
        (
            TrainingDiverged(),
            (logging.WARNING, "lost the lease: another worker will record the job's end"),
        ),
    ],
)
def test_a_worker_whose_lease_is_lost_as_it_ends_leaves_the_job_with_its_checkpoint(
    scene: Scene, said: Callable[[], list[Line]], error: Interruption, line: Line
) -> None:
    def lose_and_raise(monitor: Monitor) -> None:
        lose_lease(scene)
        raise error

    job = training(scene, then=lose_and_raise)
    left = scene.run()
    assert (left.status, left.fence, left.error) == (JobStatus.RUNNING, 2, None)
    assert left.checkpoint == STATE
    assert scene.platform.artifacts.has(STATE)
    assert scene.events(job)[-1].kind == "checkpoint"
    assert said()[-1] == line


def test_an_import_is_watched_and_its_history_told(scene: Scene) -> None:
    with scene.platform.transactions() as work:
        model = a_model(work[Policies].get("default"))
        work[Models].add(model)
        work.commit()
    job = scene.order(model, ImportOrder(base="bundled"))
    assert scene.run().status is JobStatus.SUCCEEDED
    assert [event.kind for event in scene.events(job)] == ["claimed", "phase", "done"]


def test_an_evaluation_is_watched_and_can_be_cancelled(scene: Scene) -> None:
    model = scene.model()
    a_candidate(scene.platform, model)
    scene.suite(model, scene.frozen("cat", "dog"))
    job = scene.order(model, EvaluateOrder(version=2))

    def cancel(monitor: Monitor) -> None:
        cancel_job(scene.platform, job.id)
        monitor.advance("evaluating", 1, 2)

    scene.script.evaluating = cancel
    assert scene.run().status is JobStatus.CANCELLED


def test_lines_that_are_written_meanwhile_name_the_job(scene: Scene) -> None:
    named: list[str] = []
    job = training(
        scene,
        then=lambda monitor: named.extend(map(logs.bound_value, ("job", "type", "fence", "other"))),
    )
    scene.run()
    assert named == [job.id, "update", "1", ""]
    assert logs.bound_value("job") == ""
