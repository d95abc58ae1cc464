"""Leases, fences and losses, one claim at a time."""

import time
from collections.abc import Callable

import pytest

from core.domain.jobs.job import Job, JobStatus, Progress
from core.domain.jobs.order import EvaluateOrder, JobType, Queue
from core.domain.recipes.choices import Precision
from core.domain.registry.version import Model
from core.domain.values import PolicyId
from core.errors import LeaseLost
from core.ports import Jobs, Transactions
from tests.support.factories import NOW, a_job, digest

LEASE = 0.2  # seconds


def queue(transactions: Transactions, model: Model, count: int = 1) -> list[Job]:
    made = [a_job(model) for _ in range(count)]
    with transactions() as work:
        for job in made:
            work.jobs.add(job)
        work.commit()
    return made


def claim(transactions: Transactions, owner: str = "w", lease_s: float = 60) -> Job | None:
    with transactions() as work:
        job = work.jobs.claim(owner, lease_s, lost_limit=3)
        work.commit()
    return job


def lose(transactions: Transactions) -> Job | None:
    """Claim and let the lease pass."""
    job = claim(transactions, lease_s=LEASE)
    time.sleep(LEASE + 0.05)
    return job


def test_claim_takes_the_job(transactions: Transactions, model: Model) -> None:
    [job] = queue(transactions, model)
    claimed = claim(transactions)
    assert claimed is not None
    assert (claimed.id, claimed.status) == (job.id, JobStatus.RUNNING)
    assert (claimed.fence, claimed.attempt, claimed.lost) == (1, 1, 0)
    assert claimed.started_at is not None
    assert claim(transactions) is None


def test_jobs_of_a_model_run_first_in_first_out(transactions: Transactions, model: Model) -> None:
    made = queue(transactions, model, 3)
    for job in made:
        claimed = claim(transactions)
        assert claimed is not None
        assert claimed.id == job.id
        assert claim(transactions) is None
        with transactions() as work:
            work.jobs.finish(claimed.succeed({}, NOW), claimed.fence)
            work.commit()
    assert claim(transactions) is None


def test_models_do_not_wait_for_one_another(
    transactions: Transactions, make_model: Callable[[], Model]
) -> None:
    one, two = make_model(), make_model()
    [first], [second] = queue(transactions, one), queue(transactions, two)
    assert [claim(transactions).id for _ in range(2)] == [first.id, second.id]


def claim_in_turn(transactions: Transactions) -> list[str]:
    """The jobs in the order they are claimed, each ended before the next."""
    order = []
    while (job := claim(transactions)) is not None:
        order.append(job.id)
        with transactions() as work:
            work.jobs.finish(job.succeed({}, NOW), job.fence)
            work.commit()
    return order


def test_of_the_models_next_jobs_the_highest_priority_goes_first(
    transactions: Transactions, make_model: Callable[[], Model]
) -> None:
    low, high, same = (a_job(make_model(), priority=value) for value in (1, 9, 1))
    # Within a model the order is that of coming: the urgent one waits for the one before it.
    model = make_model()
    first, urgent = a_job(model, priority=0), a_job(model, priority=9)
    with transactions() as work:
        for job in (low, high, same, first, urgent):
            work.jobs.add(job)
        work.commit()
    wanted = [high, low, same, first, urgent]
    assert claim_in_turn(transactions) == [job.id for job in wanted]


def test_a_worker_claims_the_jobs_of_its_queues_alone(
    transactions: Transactions, make_model: Callable[[], Model]
) -> None:
    scoring = a_job(make_model(), type=JobType.EVALUATE, order=EvaluateOrder(version=1))
    imported = a_job(make_model())
    with transactions() as work:
        for job in (scoring, imported):
            work.jobs.add(job)
        work.commit()
    with transactions() as work:
        assert work.jobs.claimable() == {Queue.GPU, Queue.HOUSEKEEPING}
        assert work.jobs.claimable([Queue.HOUSEKEEPING]) == {Queue.HOUSEKEEPING}
        assert work.jobs.claim("w", 60, 3, [Queue.HOUSEKEEPING]).id == imported.id
        assert work.jobs.claim("w", 60, 3, [Queue.HOUSEKEEPING]) is None
        assert work.jobs.claimable() == {Queue.GPU}
        assert work.jobs.claim("w", 60, 3, [Queue.GPU]).id == scoring.id


def test_claimable_says_what_claim_would_find(transactions: Transactions, model: Model) -> None:
    def claimable() -> set[Queue]:
        with transactions(read_only=True) as work:
            return work.jobs.claimable()

    assert not claimable()
    queue(transactions, model, 2)
    assert claimable()
    lose(transactions)
    assert claimable()
    claim(transactions)
    assert not claimable()


def test_lease_that_passes_counts_as_a_loss(transactions: Transactions, model: Model) -> None:
    queue(transactions, model)
    first = lose(transactions)
    second = claim(transactions)
    assert second.id == first.id
    assert (second.fence, second.attempt, second.lost) == (2, 2, 1)
    assert second.started_at == first.started_at


def test_advancing_renews_the_lease(transactions: Transactions, model: Model) -> None:
    queue(transactions, model)
    job = claim(transactions, lease_s=LEASE)
    for step in range(3):
        time.sleep(LEASE / 2)
        with transactions() as work:
            work.jobs.advance(
                job.id, job.fence, lease_s=LEASE, phase="training", progress=Progress(step=step)
            )
            work.commit()
    assert claim(transactions) is None
    time.sleep(LEASE + 0.05)
    assert claim(transactions).id == job.id


def test_job_lost_for_the_third_time_fails_and_the_next_one_is_claimed(
    transactions: Transactions, model: Model
) -> None:
    first, second = queue(transactions, model, 2)
    for _ in range(3):
        assert lose(transactions).id == first.id
    assert claim(transactions).id == second.id
    with transactions() as work:
        failed = work.jobs.get(first.id)
        last = work.jobs.events(first.id, 9, 0)[-1]
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
        work.jobs.set_checkpoint(job.id, 2, digest("checkpoint"))
        work.commit()
    again = claim(transactions)
    assert (again.lost, again.checkpoint) == (1, digest("checkpoint"))


WRITES: dict[str, Callable[[Jobs, Job], object]] = {
    "advance": lambda jobs, job: jobs.advance(
        job.id, 1, lease_s=60, phase="training", progress=Progress()
    ),
    "renew": lambda jobs, job: jobs.renew(job.id, 1, 60),
    "status": lambda jobs, job: jobs.status(job.id, 1),
    "set_parent": lambda jobs, job: jobs.set_parent(job.id, 1, 1),
    "pin_precision": lambda jobs, job: jobs.pin_precision(job.id, 1, Precision.FP32),
    "pin": lambda jobs, job: jobs.pin(job.id, 1, suites=[], policy=PolicyId("gate_1")),
    "set_checkpoint": lambda jobs, job: jobs.set_checkpoint(job.id, 1, digest("stale")),
    "set_version": lambda jobs, job: jobs.set_version(job.id, 1, 2),
    "finish": lambda jobs, job: jobs.finish(job.succeed({}, NOW), 1),
    "release": lambda jobs, job: jobs.release(job.id, 1),
    "pause": lambda jobs, job: jobs.pause(job.id, 1, phase="storage_full", pause_s=60),
}


@pytest.mark.parametrize("write", WRITES)
def test_stale_fence_is_refused(transactions: Transactions, model: Model, write: str) -> None:
    queue(transactions, model)
    stale = lose(transactions)
    present = claim(transactions)
    with transactions() as work, pytest.raises(LeaseLost):
        WRITES[write](work.jobs, stale)
    with transactions() as work:
        assert work.jobs.get(stale.id) == present


@pytest.mark.parametrize("write", WRITES)
def test_finished_job_is_written_no_more(
    transactions: Transactions, model: Model, write: str
) -> None:
    queue(transactions, model)
    job = claim(transactions)
    with transactions() as work:
        work.jobs.finish(job.fail({"code": "x"}, NOW), job.fence)
        work.commit()
    with transactions() as work, pytest.raises(LeaseLost):
        WRITES[write](work.jobs, job)


def test_claimant_writes_what_it_found_out(transactions: Transactions, model: Model) -> None:
    queue(transactions, model)
    job = claim(transactions)
    with transactions() as work:
        work.jobs.set_parent(job.id, 1, 4)
        work.jobs.set_checkpoint(job.id, 1, digest("checkpoint"))
        assert work.jobs.get(job.id).checkpoint == digest("checkpoint")
        work.jobs.set_version(job.id, 1, 5)
        assert work.jobs.status(job.id, 1) is JobStatus.RUNNING
        found = work.jobs.get(job.id)
        assert (found.parent_version, found.version, found.checkpoint) == (4, 5, None)
        result = {"version": 5, "report": None, "verdict": "failed"}
        work.jobs.finish(found.succeed(result, NOW), 1)
        done = work.jobs.get(job.id)
    assert (done.status, done.result, done.error) == (JobStatus.SUCCEEDED, result, None)
    assert (done.parent_version, done.version) == (4, 5)


def test_released_job_is_queued_again_without_a_loss(
    transactions: Transactions, model: Model
) -> None:
    queue(transactions, model)
    job = claim(transactions)
    with transactions() as work:
        work.jobs.release(job.id, job.fence)
        assert work.jobs.get(job.id).status is JobStatus.QUEUED
        with pytest.raises(LeaseLost):
            work.jobs.status(job.id, job.fence)
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
        work.jobs.cancel(job.cancel(NOW), JobStatus.RUNNING, NOW)
        work.jobs.release(job.id, job.fence)
        work.commit()
    again = claim(transactions)
    assert (again.id, again.status, again.lost) == (job.id, JobStatus.CANCELLING, 0)


@pytest.mark.parametrize("ahead_s", [-3600, 3600])
def test_a_lease_goes_by_the_databases_clock(
    transactions: Transactions, model: Model, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    queue(transactions, model)
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + ahead_s)
    job = claim(transactions, "skewed")
    with transactions() as work:
        for write in (lambda *_: None, WRITES["advance"], WRITES["renew"]):
            write(work.jobs, job)
            [held] = work.jobs.held("skewed")
            assert 0 < held.lease_s <= 60
        work.commit()
    monkeypatch.undo()
    assert claim(transactions) is None


def test_leases_of_a_dead_process_end_at_once(
    transactions: Transactions, make_model: Callable[[], Model]
) -> None:
    for owner in ("host:12:a", "host:12:b", "host:1", "other:12:a"):
        queue(transactions, make_model())
        claim(transactions, owner)
    with transactions() as work:
        assert work.jobs.release_owner("host:12:") == 2
        assert work.jobs.release_owner("%") == 0
        work.commit()
    assert claim(transactions).lost == 1
    assert claim(transactions).lost == 1
    assert claim(transactions) is None


def test_held_jobs_are_those_claimed_and_not_given_back(
    transactions: Transactions, make_model: Callable[[], Model]
) -> None:
    for _ in range(3):
        queue(transactions, make_model())
    kept, released = claim(transactions, "w"), claim(transactions, "w")
    claim(transactions, "other")
    with transactions() as work:
        work.jobs.release(released.id, released.fence)
        [held] = work.jobs.held("w")
    assert (held.id, held.status) == (kept.id, JobStatus.RUNNING)
    assert 50 < held.lease_s <= 60
