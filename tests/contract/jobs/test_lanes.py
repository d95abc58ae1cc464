"""Jobs that belong to no model wait in lanes of their own."""

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import text

from core.database.work import Transactions
from core.errors import JobFinished
from core.jobs.orders import Queue
from core.jobs.queue import cancel_job
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobStatus
from core.operations.rows import Gauges
from core.registry.versions import Model
from tests.support.factories import NOW, a_job, a_job_of_no_model
from tests.support.processes import wait_for
from tests.support.scene import Scene

LANE = "dataset:ds_1"


def queue(transactions: Transactions, *jobs: Job) -> None:
    with transactions() as work:
        for job in jobs:
            work[Jobs].add(job)
        work.commit()


def claim(transactions: Transactions) -> Job | None:
    with transactions() as work:
        job = work[Jobs].claim("w", 60, lost_limit=3)
        work.commit()
    return job


def finish(transactions: Transactions, job: Job) -> None:
    with transactions() as work:
        work[Jobs].finish(job.succeed({}, NOW), job.fence)
        work.commit()


def test_job_of_no_model_comes_back_as_it_was(transactions: Transactions, model: Model) -> None:
    job, other = a_job_of_no_model(LANE), a_job(model)
    queue(transactions, job, other)
    with transactions(read_only=True) as work:
        assert work[Jobs].get(job.id) == job
        assert work[Jobs].page(9, None) == [other, job]
        assert work[Jobs].page(9, None, model=model.id) == [other]
        assert work[Jobs].page(9, None, status=JobStatus.QUEUED) == [other, job]
        named = work[Jobs].named(job.id)
        assert (named.job, named.model, named.parent_digest) == (job, None, None)


def test_jobs_of_a_lane_run_one_at_a_time_in_order_of_arrival(transactions: Transactions) -> None:
    made = [a_job_of_no_model(LANE, priority=priority) for priority in (0, 9, 5)]
    queue(transactions, *made)
    for job in made:
        claimed = claim(transactions)
        assert claimed is not None
        assert (claimed.id, claimed.status) == (job.id, JobStatus.RUNNING)
        assert claim(transactions) is None
        finish(transactions, claimed)
    assert claim(transactions) is None


def test_lanes_and_models_do_not_wait_for_one_another(
    transactions: Transactions, make_model: Callable[[], Model]
) -> None:
    lanes = [a_job_of_no_model(lane) for lane in ("a", "z", LANE)]
    models = [a_job(make_model()) for _ in range(2)]
    made = [lanes[0], models[0], lanes[1], models[1], lanes[2]]
    queue(transactions, *made, *(a_job_of_no_model(job.lane) for job in lanes))
    assert [claim(transactions).id for _ in made] == [job.id for job in made]
    assert claim(transactions) is None


def test_job_of_a_model_may_wait_in_a_lane_of_its_own(
    transactions: Transactions, model: Model
) -> None:
    first, aside = a_job(model), a_job(model, lane="aside")
    queue(transactions, first, aside)
    assert [claim(transactions).id for _ in range(2)] == [first.id, aside.id]


def test_job_of_no_model_is_claimed_from_its_queue_alone(transactions: Transactions) -> None:
    queue(transactions, a_job_of_no_model(LANE))
    with transactions(read_only=True) as work:
        assert work[Jobs].claimable() == {Queue.HOUSEKEEPING}
    with transactions() as work:
        assert work[Jobs].claim("w", 60, 3, [Queue.GPU]) is None


def test_queued_job_of_no_model_is_cancelled_and_the_next_one_runs(scene: Scene) -> None:
    first, second = a_job_of_no_model(LANE), a_job_of_no_model(LANE)
    queue(scene.platform.transactions, first, second)
    assert cancel_job(scene.platform, first.id).status is JobStatus.CANCELLED
    assert claim(scene.platform.transactions).id == second.id


def test_running_job_of_no_model_is_cancelled_by_its_worker(scene: Scene) -> None:
    transactions = scene.platform.transactions
    queue(transactions, a_job_of_no_model(LANE), a_job_of_no_model(LANE))
    job = claim(transactions)
    assert cancel_job(scene.platform, job.id).status is JobStatus.CANCELLING
    assert claim(transactions) is None
    with transactions() as work:
        work[Jobs].finish(job.cancelled(NOW), job.fence)
        work.commit()
    with pytest.raises(JobFinished):
        cancel_job(scene.platform, job.id)
    assert claim(transactions) is not None


def test_lost_job_of_no_model_fails_and_the_next_one_is_claimed(transactions: Transactions) -> None:
    lost, following = a_job_of_no_model(LANE), a_job_of_no_model(LANE)
    queue(transactions, lost, following)
    for _ in range(3):
        assert claim(transactions).id == lost.id
        with transactions() as work:
            work[Jobs].release_owner("w")
            work.commit()
    assert claim(transactions).id == following.id
    with transactions(read_only=True) as work:
        assert work[Jobs].get(lost.id).error["code"] == "worker_lost"
        assert [event.kind for event in work[Jobs].events(lost.id, 9, 0)] == ["done"]
        assert [gauge.job for gauge in work[Gauges].running()] == [following.id]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_claim_passes_over_a_lane_that_another_claim_holds(transactions: Transactions) -> None:
    held, free = a_job_of_no_model("held"), a_job_of_no_model("free")
    queue(transactions, held, a_job_of_no_model("held"), free)
    with transactions() as first, transactions() as second:
        assert first[Jobs].claim("a", 60, 3).id == held.id
        assert second[Jobs].claim("b", 60, 3).id == free.id
        assert second[Jobs].claim("b", 60, 3) is None


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_job_that_is_committed_late_is_not_claimed_beside_its_successor(
    transactions: Transactions,
) -> None:
    early, late = a_job_of_no_model(LANE), a_job_of_no_model(LANE)
    found: list[Job | None] = []
    claiming = threading.Thread(target=lambda: found.append(claim(transactions)))
    with transactions() as slow:
        slow[Jobs].add(early)
        queue(transactions, late)
        with transactions() as first:
            assert first[Jobs].claim("a", 60, 3).id == late.id
            slow.commit()
            claiming.start()  # finds `early`, and waits to learn whether `late` is claimed
            wait_for(lambda: _somebody_waits(transactions), seconds=60, every=0.01)
            first.commit()
    claiming.join(60)
    assert found == [None]
    with transactions(read_only=True) as work:
        statuses = [work[Jobs].get(job.id).status for job in (early, late)]
    assert statuses == [JobStatus.QUEUED, JobStatus.RUNNING]


def _somebody_waits(transactions: Transactions) -> bool:
    with transactions(read_only=True) as work:
        return bool(
            work._connection.scalar(
                text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype <> 'relation'")
            )
        )
