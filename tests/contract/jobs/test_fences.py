"""Fences: a job is written by the worker that holds it, and by no other."""

from collections.abc import Callable

import pytest

from core.database.work import Transactions
from core.errors import LeaseLost
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobStatus, Progress
from core.recipes.fields import Precision
from core.registry.versions import Model
from tests.support.claims import claim, lose, queue
from tests.support.factories import NOW, digest

WRITES: dict[str, Callable[[Jobs, Job], object]] = {
    "advance": lambda jobs, job: jobs.advance(
        job.id, 1, lease_s=60, phase="training", progress=Progress()
    ),
    "renew": lambda jobs, job: jobs.renew(job.id, 1, 60),
    "status": lambda jobs, job: jobs.status(job.id, 1),
    "set_parent": lambda jobs, job: jobs.set_parent(job.id, 1, 1),
    "pin_precision": lambda jobs, job: jobs.pin_precision(job.id, 1, Precision.FP32),
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


def test_claimant_writes_what_it_found_out(transactions: Transactions, model: Model) -> None:
    queue(transactions, model)
    job = claim(transactions)
    with transactions() as work:
        work[Jobs].set_parent(job.id, 1, 4)
        work[Jobs].set_checkpoint(job.id, 1, digest("checkpoint"))
        assert work[Jobs].get(job.id).checkpoint == digest("checkpoint")
        work[Jobs].set_version(job.id, 1, 5)
        assert work[Jobs].status(job.id, 1) is JobStatus.RUNNING
        found = work[Jobs].get(job.id)
        assert (found.parent_version, found.version, found.checkpoint) == (4, 5, None)
        result = {"version": 5, "report": None, "verdict": "failed"}
        work[Jobs].finish(found.succeed(result, NOW), 1)
        done = work[Jobs].get(job.id)
    assert (done.status, done.result, done.error) == (JobStatus.SUCCEEDED, result, None)
    assert (done.parent_version, done.version) == (4, 5)
