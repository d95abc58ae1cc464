"""The ends of jobs, whatever happens while they run."""

from types import SimpleNamespace

import pytest

from core.errors import ArtifactsUnavailable, DatabaseUnavailable, LeaseLost, OutOfMemory
from core.gate.rows import Policies
from core.jobs.monitor import JobMonitor
from core.jobs.orders import ImportOrder
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus, Monitor
from core.operations.maintenance import forget_old_traces
from core.registry.rows import Models
from tests.support.claims import abandon, checkpoint
from tests.support.factories import a_model
from tests.support.scene import Scene, nothing


def lose_lease(scene: Scene) -> None:
    """Let another worker claim what this one holds."""
    with scene.platform.transactions() as work:
        work[Jobs].release_owner("w")
        assert work[Jobs].claim("another", 60, 3) is not None
        work.commit()


def test_update_makes_a_candidate_and_scores_it(scene: Scene) -> None:
    model = scene.model()
    job = scene.update(model, scene.frozen("cat", "dog"))
    ended = scene.run()
    assert (ended.id, ended.status, ended.version) == (job.id, JobStatus.SUCCEEDED, 2)
    assert [event.kind for event in scene.events(job)][-1] == "done"


def test_an_unexpected_error_fails_the_job_with_a_stable_code(scene: Scene) -> None:
    scene.update(scene.model(), scene.frozen("cat", "dog"))

    def divide(monitor: Monitor) -> float:
        return 1 / 0

    scene.script.training = divide
    ended = scene.run()
    assert ended.status is JobStatus.FAILED
    assert ended.error is not None
    assert ended.error["code"] == "internal"
    assert "ZeroDivisionError" in ended.error["message"]


@pytest.mark.parametrize("error", [MemoryError(), OutOfMemory(allocator="no room")])
def test_want_of_memory_fails_the_job_by_name_and_the_next_one_runs(
    scene: Scene, error: Exception
) -> None:
    model = scene.model()
    scene.update(model, scene.frozen("cat", "dog"))
    scene.update(model, scene.frozen("cow", "ant", offset=8))

    def exhaust(monitor: Monitor) -> None:
        scene.script.training = nothing
        raise error

    scene.script.training = exhaust
    ended = scene.run()
    assert (ended.status, ended.error["code"]) == (JobStatus.FAILED, "out_of_memory")
    assert scene.run().status is JobStatus.SUCCEEDED


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


def test_worker_that_stops_after_losing_its_lease_leaves_the_job_alone(scene: Scene) -> None:
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))

    def stop_late(monitor: Monitor) -> None:
        monitor.advance("loading", 0, 1)
        scene.stopping = True
        monitor.save_checkpoint(scene.platform.artifacts.put(b"state"), 1)

    def lose_then_stop(monitor: Monitor) -> None:
        try:
            stop_late(monitor)
        finally:
            lose_lease(scene)

    scene.script.training = lose_then_stop
    left = scene.run()
    assert (left.id, left.status, left.fence) == (job.id, JobStatus.RUNNING, 2)


def test_import_that_is_retried_twice_makes_one_root_and_says_so(scene: Scene) -> None:
    with scene.platform.transactions() as work:
        model = a_model(work[Policies].get("default"))
        work[Models].add(model)
        work.commit()
    first, second = (scene.order(model, ImportOrder(base="bundled")) for _ in range(2))
    loads: list[Monitor] = []
    scene.script.training = loads.append
    assert [scene.run().id for _ in range(2)] == [first.id, second.id]
    ended = scene.job(second)
    assert (ended.status, ended.error["code"]) == (JobStatus.FAILED, "conflict")
    assert len(scene.versions(model)) == len(loads) == 1


def test_job_goes_back_to_the_queue_when_the_database_was_away(scene: Scene) -> None:
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))

    def lose_the_database(monitor: Monitor) -> None:
        raise DatabaseUnavailable

    scene.script.training = lose_the_database
    left = scene.run()
    assert (left.id, left.status, left.error, left.lost) == (job.id, JobStatus.QUEUED, None, 1)
    for _ in range(2):
        scene.run()
    assert abandon(scene, expected=False) is None
    assert scene.job(job).status is JobStatus.FAILED


def test_job_goes_back_to_the_queue_as_often_as_the_artifacts_are_away(scene: Scene) -> None:
    scene.update(scene.model(), scene.frozen("cat", "dog"))

    def lose_the_artifacts(monitor: Monitor) -> None:
        raise ArtifactsUnavailable

    scene.script.training = lose_the_artifacts
    for _ in range(5):
        left = scene.run()
        assert (left.status, left.error, left.lost) == (JobStatus.QUEUED, None, 0)
    scene.script.training = nothing
    assert scene.run().status is JobStatus.SUCCEEDED


def test_update_of_a_model_whose_import_failed_fails_by_name(scene: Scene) -> None:
    with scene.platform.transactions() as work:
        model = a_model(work[Policies].get("default"))
        work[Models].add(model)
        work.commit()
    scene.update(model, scene.frozen("cat", "dog"))
    ended = scene.run()
    assert ended.status is JobStatus.FAILED
    assert ended.error is not None
    assert ended.error["code"] == "alias_not_found"


def test_checkpoint_of_a_job_that_was_lost_too_often_is_swept(scene: Scene) -> None:
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))
    spent = checkpoint(scene, abandon(scene))
    for _ in range(2):
        abandon(scene)
    assert abandon(scene, expected=False) is None
    assert scene.job(job).status is JobStatus.FAILED
    forget_old_traces(scene.platform)
    assert not scene.platform.artifacts.has(spent)
    assert scene.job(job).checkpoint is None


def test_time_left_is_told_anew_for_each_version_that_is_asked(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("core.jobs.monitor.time", SimpleNamespace(monotonic=lambda: now[0]))
    scene.update(scene.model(), scene.frozen("cat", "dog"))
    with scene.platform.transactions() as work:
        job = work[Jobs].claim("w", 60, 3)
        work.commit()
    assert job is not None
    monitor = JobMonitor(scene.platform, job, stopping=lambda: False)
    for at, step in ((0, 0), (100, 10), (100, 0), (105, 5)):
        now[0] = at
        monitor.advance("evaluating", step, 10)
    assert scene.job(job).progress.eta_s == 5.0
