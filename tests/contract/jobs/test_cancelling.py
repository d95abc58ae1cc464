"""Jobs that are cancelled while they wait, run or end."""

import time
from concurrent.futures import ThreadPoolExecutor

from core.gate.rows import Policies
from core.jobs.orders import ImportOrder
from core.jobs.queue import cancel_job
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus, Monitor
from core.operations.maintenance import end_cancelled_jobs, forget_old_traces
from core.registry.rows import Models, Versions
from tests.support.claims import abandon, checkpoint
from tests.support.factories import a_model
from tests.support.scene import Scene


def test_cancelling_job_whose_worker_died_is_cancelled_and_not_run(scene: Scene) -> None:
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))
    abandon(scene)
    cancel_job(scene.platform, job.id)
    ended = scene.run()
    assert (ended.id, ended.status) == (job.id, JobStatus.CANCELLED)
    assert scene.script.tasks == []


def test_cancelling_job_that_nobody_holds_is_ended_by_the_sweeper(scene: Scene) -> None:
    model = scene.model()
    job = scene.update(model, scene.frozen("cat", "dog"))
    following = scene.update(model, scene.frozen("cow", "ant", offset=8))
    spent = checkpoint(scene, abandon(scene))
    end_cancelled_jobs(scene.platform)
    assert scene.job(job).status is JobStatus.RUNNING
    cancel_job(scene.platform, job.id)
    end_cancelled_jobs(scene.platform)
    ended, last = scene.job(job), scene.events(job)[-1]
    assert (ended.status, ended.checkpoint, ended.error) == (JobStatus.CANCELLED, None, None)
    assert (last.kind, last.data) == ("done", {"status": "cancelled"})
    assert not scene.platform.artifacts.has(spent)
    assert scene.run().id == following.id


def test_cancelling_job_whose_worker_lives_is_left_to_it(scene: Scene) -> None:
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))

    def cancel(monitor: Monitor) -> None:
        cancel_job(scene.platform, job.id)
        end_cancelled_jobs(scene.platform)
        assert scene.job(job).status is JobStatus.CANCELLING
        monitor.advance("training", 1, 2)

    scene.script.training = cancel
    assert scene.run().status is JobStatus.CANCELLED


def test_cancelling_job_that_is_lost_too_often_is_cancelled_and_not_failed(scene: Scene) -> None:
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))
    for _ in range(3):
        abandon(scene)
    cancel_job(scene.platform, job.id)
    assert abandon(scene, expected=False) is None
    ended = scene.job(job)
    assert (ended.status, ended.error) == (JobStatus.CANCELLED, None)
    last = scene.events(job)[-1]
    assert (last.kind, last.data["status"]) == ("done", "cancelled")


def test_cancellation_that_comes_as_the_job_ends_keeps_the_alias_where_it_is(
    scene: Scene,
) -> None:
    model = scene.model()
    job = scene.update(model, scene.frozen("cat", "dog"))
    left = [1, 2]  # candidate and parent, who is the root

    def cancel_at_the_last_question(monitor: Monitor) -> None:
        monitor.advance("evaluating", 1, 1)
        left.pop()
        if not left:
            cancel_job(scene.platform, job.id)

    scene.script.evaluating = cancel_at_the_last_question
    ended = scene.run()
    assert (ended.status, ended.result) == (JobStatus.CANCELLED, None)
    assert scene.version(model, 2).verdict is None
    assert scene.live(model) == 1


def test_cancelled_import_makes_no_root(scene: Scene) -> None:
    with scene.platform.transactions() as work:
        model = a_model(work[Policies].get("default"))
        work[Models].add(model)
        work.commit()
    job = scene.order(model, ImportOrder(base="bundled"))
    scene.script.training = lambda monitor: cancel_job(scene.platform, job.id)
    assert scene.run().status is JobStatus.CANCELLED
    with scene.platform.transactions(read_only=True) as work:
        assert work[Versions].all(model.id) == []


def test_checkpoint_of_a_job_that_was_cancelled_in_the_queue_is_swept(scene: Scene) -> None:
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))
    claimed = abandon(scene)
    spent = checkpoint(scene, claimed)
    with scene.platform.transactions() as work:
        work[Jobs].release(job.id, claimed.fence)
        work.commit()
    forget_old_traces(scene.platform)
    assert scene.platform.artifacts.has(spent)
    cancel_job(scene.platform, job.id)
    forget_old_traces(scene.platform)
    assert not scene.platform.artifacts.has(spent)


def test_job_that_is_claimed_while_it_is_cancelled_stops_at_its_next_step(scene: Scene) -> None:
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))
    with ThreadPoolExecutor(1) as pool:
        with scene.platform.transactions() as work:
            assert work[Jobs].claim("w", 60, 3) is not None
            cancellation = pool.submit(cancel_job, scene.platform, job.id)
            time.sleep(0.3)
            work.commit()
        assert cancellation.result().status is JobStatus.CANCELLING
