"""How each way for a job to end or to be given back is told: status, history and log."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from core import logs
from core.domain.jobs.job import Job, JobStatus
from core.domain.jobs.order import EvaluateOrder, ImportOrder
from core.domain.values import Json, sha256
from core.errors import (
    ArtifactsUnavailable,
    DatabaseUnavailable,
    Interruption,
    OutOfMemory,
    StopRequested,
    StorageFull,
    TrainingDiverged,
)
from core.ports import Monitor, UnitOfWork
from core.use_cases.jobs.queue import cancel_job
from core.use_cases.jobs.requeue import pause, room_of
from core.use_cases.run_job import Tools, run_next_job
from tests.support.api.seeds import a_candidate
from tests.support.factories import NOW, a_model
from tests.support.scene import Scene

Line = tuple[int, str]  # level and text

STATE = sha256(b"state")
CLAIMED = (logging.INFO, "job claimed")
GONE = (logging.WARNING, "the lease is lost, there is nothing to give back")


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What happens while a job trains, and what is to be read of it afterwards."""

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
        StopRequested(), (logging.INFO, "job goes back to the queue: this worker is stopping")
    ),
    "database away": given_back(
        DatabaseUnavailable(),
        (logging.WARNING, "job goes back to the queue: the database was away"),
        lost=1,
    ),
    "artifacts away": given_back(
        ArtifactsUnavailable("The bucket does not answer."),
        (logging.WARNING, "job goes back to the queue: The bucket does not answer."),
    ),
    "disk full": Ending(
        error=StorageFull(needed_bytes=700, free_bytes=300),
        line=(logging.WARNING, "job is paused: The disk has no room left."),
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


def training(scene: Scene, *, then: Callable[[Monitor], object]) -> Job:
    """A queued update that takes a step, keeps a checkpoint, and to which something happens."""

    def train(monitor: Monitor) -> None:
        monitor.advance("training", 1, 9)
        monitor.save_checkpoint(scene.platform.artifacts.put(b"state"), 1)
        then(monitor)

    scene.script.training = train
    return scene.update(scene.model(), scene.frozen("cat", "dog"))


def raising(error: BaseException) -> Callable[[Monitor], object]:
    def happen(monitor: Monitor) -> None:
        raise error

    return happen


def lose_lease(scene: Scene) -> None:
    """Let another worker claim what this one holds."""
    with scene.platform.transactions() as work:
        work.jobs.release_owner("w")
        assert work.jobs.claim("another", 60, 3) is not None
        work.commit()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[Line]]:
    """What has been logged, but for what artifacts and database say."""
    caplog.set_level(logging.INFO, logger="core.use_cases")
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
        (logging.WARNING, "the lease is lost, the job is left to its new owner"),
    ]
    assert "training" not in seconds(scene)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (StopRequested(), GONE),
        (StorageFull(), GONE),
        (
            TrainingDiverged(),
            (logging.WARNING, "the lease is lost, its end is another worker's to write"),
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


def test_a_claim_is_in_history_and_log_with_its_attempt_and_owner(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="core.use_cases")
    job = training(scene, then=raising(StopRequested()))
    for attempt in (1, 2):
        caplog.clear()
        scene.run()
        claims = [event for event in scene.events(job) if event.kind == "claimed"]
        assert (claims[-1].data, claims[-1].at) == ({"attempt": attempt, "owner": "w"}, NOW)
        assert len(claims) == attempt
        assert vars(caplog.records[0])["attempt"] == attempt


def test_an_import_is_watched_and_its_history_told(scene: Scene) -> None:
    with scene.platform.transactions() as work:
        model = a_model(work.policies.get("default"))
        work.models.add(model)
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


def test_only_the_wait_for_the_first_claim_is_counted(scene: Scene) -> None:
    training(scene, then=raising(StopRequested()))
    for waited_s in (90.0, 500.0):
        later = replace(scene.platform, clock=lambda s=waited_s: NOW + timedelta(seconds=s))
        run(scene, later)
        assert seconds(scene)["queued"] == 90.0


def test_the_last_phase_is_counted_however_a_job_ends(scene: Scene) -> None:
    training(scene, then=raising(TrainingDiverged()))
    scene.run()
    assert seconds(scene).keys() == {"queued", "training"}


def test_a_worker_claims_by_its_settings(scene: Scene) -> None:
    settings = scene.platform.settings
    deaf = settings.model_copy(update={"queues": ("housekeeping",)})
    short = settings.model_copy(update={"lease_seconds": 7.0, "lost_attempts": 1})
    held: list[float] = []

    def look(monitor: Monitor) -> None:
        with scene.platform.transactions(read_only=True) as work:
            held.extend(one.lease_s for one in work.jobs.held("w"))
        raise DatabaseUnavailable

    scene.script.training = look
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))
    assert run(scene, replace(scene.platform, settings=deaf)) is None
    assert run(scene, replace(scene.platform, settings=short)) is not None
    assert 6 < held[0] <= 7
    assert run(scene, replace(scene.platform, settings=short)) is None
    assert scene.job(job).status is JobStatus.FAILED


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({}, {}),
        ({"needed_bytes": 7}, {"needed_bytes": 7}),
        ({"free_bytes": 7, "path": "/x"}, {"free_bytes": 7}),
        ({"needed_bytes": None, "free_bytes": 7}, {"free_bytes": 7}),
        (
            {"needed_bytes": 9, "free_bytes": 7},
            {"needed_bytes": 9, "free_bytes": 7, "missing_bytes": 2},
        ),
        (
            {"needed_bytes": 7, "free_bytes": 9},
            {"needed_bytes": 7, "free_bytes": 9, "missing_bytes": 0},
        ),
    ],
)
def test_of_a_full_disk_is_told_what_is_known(facts: dict[str, Any], told: dict[str, int]) -> None:
    assert room_of(StorageFull(**facts)) == told


def test_a_worker_that_stops_does_not_wait_for_a_full_database(
    scene: Scene, said: Callable[[], list[Line]]
) -> None:
    job = training(scene, then=lambda monitor: None)

    def full(*, read_only: bool = False) -> UnitOfWork:
        raise StorageFull

    pause(replace(scene.platform, transactions=full), job, StorageFull(), stopping=lambda: True)
    assert said() == [(logging.WARNING, "the database has no room; the lease runs out instead")]


def run(scene: Scene, platform: Any) -> Job | None:
    """Have a worker of another platform look for a job."""
    tools = Tools(importer=scene.script, trainer=scene.script, evaluator=scene.script)
    return run_next_job(platform, tools, owner="w", stopping=lambda: False)


def seconds(scene: Scene) -> dict[str, float]:
    """How long each phase of updates has taken so far."""
    with scene.platform.transactions(read_only=True) as work:
        counters = work.counters.all()
    assert {tally.labels["type"] for tally in counters} <= {"update"}
    return {t.labels["phase"]: t.value for t in counters if "sum" in t.labels}
