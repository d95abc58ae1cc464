"""Leases and fences: a job is written by the worker that holds it, and losses are counted."""

import time
from collections.abc import Callable

import pytest

from core.database.work import Transactions
from core.errors import LeaseLost
from core.jobs.rows import Jobs
from core.jobs.rules import Beside, Job, JobStatus, Progress
from core.recipes.fields import Precision
from core.registry.versions import Model
from tests.support.claims import claim, lose, queue
from tests.support.factories import NOW, digest


def test_lease_that_passes_counts_as_a_loss(transactions: Transactions, model: Model) -> None:
    queue(transactions, model)
    first = lose(transactions)
    second = claim(transactions)
    assert second.id == first.id
    assert (second.fence, second.attempt, second.lost) == (2, 2, 1)
    assert second.started_at == first.started_at


@pytest.mark.parametrize("ahead_s", [-3600, 3600])
def test_a_lease_goes_by_the_databases_clock(
    transactions: Transactions, model: Model, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    queue(transactions, model)
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + ahead_s)
    job = claim(transactions, "skewed", lease_s=20)
    with transactions() as work:
        for lease_s, renew in (
            (20, lambda: None),
            (
                60,
                lambda: work[Jobs].advance(
                    job.id, job.fence, lease_s=60, phase="training", progress=Progress()
                ),
            ),
            (40, lambda: work[Jobs].renew(job.id, job.fence, 40)),
        ):
            renew()
            [held] = work[Jobs].held("skewed")
            assert lease_s - 10 < held.lease_s <= lease_s
        work.commit()
    monkeypatch.undo()
    assert claim(transactions) is None


def test_held_jobs_are_those_claimed_and_not_given_back(
    transactions: Transactions, make_model: Callable[[], Model]
) -> None:
    for _ in range(3):
        queue(transactions, make_model())
    kept, released = claim(transactions, "w"), claim(transactions, "w")
    claim(transactions, "other")
    with transactions() as work:
        work[Jobs].release(released.id, released.fence)
        [held] = work[Jobs].held("w")
    assert (held.id, held.status) == (kept.id, JobStatus.RUNNING)
    assert 50 < held.lease_s <= 60


def test_job_lost_for_the_third_time_fails_and_the_next_one_is_claimed(
    transactions: Transactions, model: Model
) -> None:
    first, second = queue(transactions, model, 2)
    for _ in range(3):
        assert lose(transactions).id == first.id
    assert claim(transactions).id == second.id
    with transactions() as work:
        failed = work[Jobs].get(first.id)
        last = work[Jobs].events(first.id, 9, 0)[-1]
    assert failed.status is JobStatus.FAILED
    assert failed.error["code"] == "worker_lost"
    assert failed.finished_at is not None
    assert failed.attempt == 3
    assert (last.kind, last.data["status"]) == ("done", "failed")


def test_new_checkpoint_forgives_losses(transactions: Transactions, model: Model) -> None:
    [job] = queue(transactions, model)
    lose(transactions)
    lose(transactions)
    with transactions() as work:
        work[Jobs].set_checkpoint(job.id, 2, digest("checkpoint"))
        work.commit()
    again = claim(transactions)
    assert (again.lost, again.checkpoint) == (1, digest("checkpoint"))


def test_released_job_is_queued_again_without_a_loss(
    transactions: Transactions, model: Model
) -> None:
    queue(transactions, model)
    job = claim(transactions)
    with transactions() as work:
        work[Jobs].release(job.id, job.fence)
        assert work[Jobs].get(job.id).status is JobStatus.QUEUED
        with pytest.raises(LeaseLost):
            work[Jobs].status(job.id, job.fence)
        work.commit()
    again = claim(transactions)
    assert (again.lost, again.attempt) == (0, 2)
    assert again.fence > job.fence


def test_released_job_that_is_being_cancelled_goes_to_a_worker_that_ends_it(
    transactions: Transactions, model: Model
) -> None:
    queue(transactions, model)
    job = claim(transactions)
    with transactions() as work:
        work[Jobs].cancel(job.cancel(NOW), JobStatus.RUNNING, NOW)
        work[Jobs].release(job.id, job.fence)
        work.commit()
    again = claim(transactions)
    assert (again.id, again.status, again.lost) == (job.id, JobStatus.CANCELLING, 0)


def test_leases_of_a_dead_process_end_at_once(
    transactions: Transactions, make_model: Callable[[], Model]
) -> None:
    for owner in ("host:12:a", "host:12:b", "host:1", "other:12:a"):
        queue(transactions, make_model())
        claim(transactions, owner)
    with transactions() as work:
        assert work[Jobs].release_owner("host:12:") == 2
        assert work[Jobs].release_owner("%") == 0
        work.commit()
    assert claim(transactions).lost == 1
    assert claim(transactions).lost == 1
    assert claim(transactions) is None


WRITES: dict[str, Callable[[Jobs, Job], object]] = {
    "advance": lambda jobs, job: jobs.advance(
        job.id, 1, lease_s=60, phase="training", progress=Progress()
    ),
    "renew": lambda jobs, job: jobs.renew(job.id, 1, 60),
    "status": lambda jobs, job: jobs.status(job.id, 1),
    "set_parent": lambda jobs, job: jobs.set_parent(job.id, 1, 1),
    "pin_precision": lambda jobs, job: jobs.pin_precision(job.id, 1, Precision.FP32),
    "pin_beside": lambda jobs, job: jobs.pin_beside(job.id, 1, Beside(live=1, settled={})),
    "set_checkpoint": lambda jobs, job: jobs.set_checkpoint(job.id, 1, digest("stale")),
    "set_version": lambda jobs, job: jobs.set_version(job.id, 1, 2),
    "finish": lambda jobs, job: jobs.finish(job.succeed({}, NOW), 1),
    "release": lambda jobs, job: jobs.release(job.id, 1),
    "pause": lambda jobs, job: jobs.pause(job.id, 1, phase="storage_full", pause_s=60),
}


def test_stale_fence_is_refused(transactions: Transactions, model: Model) -> None:
    queue(transactions, model)
    stale = lose(transactions)
    present = claim(transactions)
    for name, write in WRITES.items():
        with transactions() as work, pytest.raises(LeaseLost):
            write(work[Jobs], stale)
        with transactions() as work:
            assert work[Jobs].get(stale.id) == present, name


def test_finished_job_is_written_no_more(transactions: Transactions, model: Model) -> None:
    queue(transactions, model)
    job = claim(transactions)
    with transactions() as work:
        work[Jobs].finish(job.fail({"code": "x"}, NOW), job.fence)
        work.commit()
    for write in WRITES.values():
        with transactions() as work, pytest.raises(LeaseLost):
            write(work[Jobs], job)
