"""Jobs are claimed, end or are requeued: status, history, log and counters."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import pytest

from core import logs
from core.errors import (
    ArtifactsUnavailable,
    CancelRequested,
    DatabaseUnavailable,
    LeaseLost,
    OutOfMemory,
    StopRequested,
    StorageFull,
    TrainingDiverged,
)
from core.job_types.run import run_next_job
from core.jobs.orders import ImportOrder
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobStatus, Monitor
from core.values import Json, sha256
from tests.support.claims import lose_lease
from tests.support.factories import NOW
from tests.support.ordering import an_unimported_model
from tests.support.scene import Scene
from tests.support.tools import tools_of

Line = tuple[int, str]  # level and text

CLAIMED = (logging.INFO, "job claimed")

STATE = sha256(b"state")


def training(scene: Scene, *, then: Callable[[Monitor], object]) -> Job:
    """A queued update that takes a step, keeps a checkpoint, and to which something happens."""

    def train(monitor: Monitor) -> None:
        monitor.advance("training", 1, 9)
        monitor.save_checkpoint(scene.platform.artifacts.put(b"state"), 1)
        then(monitor)

    scene.script.training = train
    return scene.update(scene.model(), scene.frozen("cat", "dog"))


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
    "cancelled": Ending(
        error=CancelRequested(),
        line=(logging.INFO, "job cancelled"),
        status=JobStatus.CANCELLED,
        phase="cancelled",
        event=("done", {"status": "cancelled"}),
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
    job = training(scene, then=Mock(side_effect=ending.error))
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


def test_a_job_that_succeeds_says_so(scene: Scene, said: Callable[[], list[Line]]) -> None:
    training(scene, then=lambda monitor: None)
    assert scene.run().status is JobStatus.SUCCEEDED
    assert said() == [CLAIMED, (logging.INFO, "job succeeded")]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            StopRequested(),
            (logging.WARNING, "lost the lease: the job was not returned to the queue"),
        ),
        (LeaseLost(), (logging.WARNING, "lost the lease: another worker now runs the job")),
        (StorageFull(), (logging.WARNING, "lost the lease: the job was not paused")),
        (
            TrainingDiverged(),
            (logging.WARNING, "lost the lease: another worker will record the job's end"),
        ),
    ],
)
def test_a_worker_whose_lease_is_lost_as_it_ends_leaves_the_job_with_its_checkpoint(
    scene: Scene, said: Callable[[], list[Line]], error: Exception, line: Line
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
    if isinstance(error, LeaseLost):
        assert "training" not in scene.phase_seconds()


def test_an_import_is_watched_and_its_history_told(scene: Scene) -> None:
    model = an_unimported_model(scene)
    job = scene.order(model, ImportOrder(base="bundled"))
    assert scene.run().status is JobStatus.SUCCEEDED
    assert [event.kind for event in scene.events(job)] == ["claimed", "phase", "done"]


def test_lines_that_are_written_meanwhile_name_the_job(scene: Scene) -> None:
    named: list[str] = []
    job = training(
        scene,
        then=lambda monitor: named.extend(map(logs.bound_value, ("job", "type", "fence", "other"))),
    )
    scene.run()
    assert named == [job.id, "update", "1", ""]
    assert logs.bound_value("job") == ""


def test_a_running_job_tells_what_it_had_to_change_by_its_fence(scene: Scene) -> None:
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))

    def halve(monitor: Monitor) -> None:
        monitor.emit("out_of_memory", {"step": 3, "micro_batch": 50})
        lose_lease(scene)
        with pytest.raises(LeaseLost):
            monitor.emit("out_of_memory", {"step": 4, "micro_batch": 25})

    scene.script.training = halve
    scene.run()
    told = [event.data for event in scene.events(job) if event.kind == "out_of_memory"]
    assert told == [{"step": 3, "micro_batch": 50}]


def test_import_that_is_retried_twice_makes_one_root_and_says_so(scene: Scene) -> None:
    model = an_unimported_model(scene)
    first, second = (scene.order(model, ImportOrder(base="bundled")) for _ in range(2))
    loads: list[Monitor] = []
    scene.script.training = loads.append
    assert [scene.run().id for _ in range(2)] == [first.id, second.id]
    ended = scene.job(second)
    assert (ended.status, ended.error["code"]) == (JobStatus.FAILED, "conflict")
    assert len(scene.versions(model)) == len(loads) == 1


def test_update_of_a_model_whose_import_failed_fails_by_name(scene: Scene) -> None:
    scene.update(an_unimported_model(scene), scene.frozen("cat", "dog"))
    ended = scene.run()
    assert (ended.status, ended.error["code"]) == (JobStatus.FAILED, "alias_not_found")


def test_a_claim_is_in_history_and_log_with_its_attempt_and_owner(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="core.job_types")
    job = training(scene, then=Mock(side_effect=StopRequested()))
    for attempt in (1, 2):
        caplog.clear()
        scene.run()
        claims = [event for event in scene.events(job) if event.kind == "claimed"]
        assert (claims[-1].data, claims[-1].at) == ({"attempt": attempt, "owner": "w"}, NOW)
        assert len(claims) == attempt
        assert vars(caplog.records[0])["attempt"] == attempt


def test_only_the_wait_for_the_first_claim_is_counted(scene: Scene) -> None:
    training(scene, then=Mock(side_effect=StopRequested()))
    for waited_s in (90.0, 500.0):
        later = replace(scene.platform, clock=lambda s=waited_s: NOW + timedelta(seconds=s))
        run_on(scene, later)
        assert scene.phase_seconds()["queued"] == 90.0


def test_the_last_phase_is_counted_however_a_job_ends(scene: Scene) -> None:
    training(scene, then=Mock(side_effect=TrainingDiverged()))
    scene.run()
    assert scene.phase_seconds().keys() == {"queued", "training"}


def test_a_worker_claims_by_its_settings(scene: Scene) -> None:
    settings = scene.platform.settings
    deaf = settings.model_copy(update={"queues": ("housekeeping",)})
    short = settings.model_copy(update={"lease_seconds": 7.0, "lost_attempts": 1})
    held: list[float] = []

    def look(monitor: Monitor) -> None:
        with scene.platform.transactions(read_only=True) as work:
            held.extend(one.lease_s for one in work[Jobs].held("w"))
        raise DatabaseUnavailable

    scene.script.training = look
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))
    assert run_on(scene, replace(scene.platform, settings=deaf)) is None
    assert run_on(scene, replace(scene.platform, settings=short)) is not None
    assert 6 < held[0] <= 7
    assert run_on(scene, replace(scene.platform, settings=short)) is None
    assert scene.job(job).status is JobStatus.FAILED


def run_on(scene: Scene, platform: Any) -> Job | None:
    """Have a worker of another platform look for a job."""
    tools = tools_of(scene.script)
    return run_next_job(platform, tools, owner="w", stopping=lambda: False)
