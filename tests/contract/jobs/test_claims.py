"""Claims: the order in which jobs are given to workers, however many ask at once."""

import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.context import BaseContext

import pytest
from sqlalchemy import insert, text

from core.database.tables import jobs
from core.database.work import Transactions
from core.jobs.claim_rows import to_row
from core.jobs.claims import claimable_heads
from core.jobs.orders import EvaluateOrder, JobType, Queue
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobStatus
from core.registry.version_rows import Versions
from core.registry.versions import Model
from tests.support.claims import claim, queue, store, succeed
from tests.support.factories import NOW, a_job, a_job_of_no_model
from tests.support.processes import wait_for
from tests.support.storage.databases import waiting, writing

LANE = "dataset:ds_1"


def test_claim_takes_the_job(transactions: Transactions, model: Model) -> None:
    [job] = queue(transactions, model)
    claimed = claim(transactions)
    assert (claimed.id, claimed.status) == (job.id, JobStatus.RUNNING)
    assert (claimed.fence, claimed.attempt, claimed.lost) == (1, 1, 0)
    assert claimed.started_at is not None
    assert claim(transactions) is None


@pytest.mark.parametrize("of_a_model", [True, False])
def test_jobs_of_a_model_run_first_in_first_out(
    transactions: Transactions, model: Model, of_a_model: bool
) -> None:
    of = {"model": model.id, "lane": model.id} if of_a_model else {}
    made = [replace(a_job_of_no_model(LANE, priority=priority), **of) for priority in (0, 9, 5)]
    store(transactions, *made)
    for job in made:
        claimed = claim(transactions)
        assert claimed.id == job.id
        assert claim(transactions) is None
        succeed(transactions, claimed)
    assert claim(transactions) is None


def test_lanes_do_not_wait_for_one_another_and_of_their_next_jobs_the_highest_priority_goes_first(
    transactions: Transactions, make_model: Callable[[], Model]
) -> None:
    model = make_model()
    low, same = (a_job(make_model(), priority=1) for _ in range(2))
    high = a_job_of_no_model(LANE, priority=9)
    first, urgent = a_job(model, priority=0), a_job(model, priority=9)  # in order of coming
    aside = a_job(model, priority=0, lane="aside")
    store(transactions, low, high, same, first, urgent, aside)
    for wanted in (high, low, same, first, aside):
        claimed = claim(transactions)
        assert claimed.id == wanted.id
    assert claim(transactions) is None
    succeed(transactions, replace(first, fence=1))
    assert claim(transactions).id == urgent.id


def test_a_worker_of_one_job_claims_that_when_its_turn_has_come_and_no_other(
    transactions: Transactions, make_model: Callable[[], Model]
) -> None:
    model = make_model()
    first, second = a_job(model), a_job(model)
    urgent = a_job(make_model(), priority=9)
    store(transactions, first, second, urgent)

    def only(job: Job) -> Job | None:
        with transactions() as work:
            claimed = work[Jobs].claim("w", 60, 3, only=job.id)
            work.commit()
        return claimed

    with transactions(read_only=True) as work:
        assert work[Jobs].claimable_jobs(tuple(Queue)) == [urgent.id, first.id]
        assert work[Jobs].claimable_jobs([Queue.GPU]) == []
    assert only(second) is None
    claimed = only(first)
    assert claimed.id == first.id
    assert only(first) is None
    succeed(transactions, claimed)
    assert only(second).id == second.id
    assert claim(transactions).id == urgent.id


def test_a_worker_claims_the_jobs_of_its_queues_alone(
    transactions: Transactions, make_model: Callable[[], Model]
) -> None:
    scoring = a_job(make_model(), type=JobType.EVALUATE, order=EvaluateOrder(version=1))
    imported = a_job_of_no_model(LANE)
    store(transactions, scoring, imported)
    with transactions() as work:
        assert work[Jobs].claimable() == {Queue.GPU, Queue.HOUSEKEEPING}
        assert work[Jobs].claimable([Queue.HOUSEKEEPING]) == {Queue.HOUSEKEEPING}
        assert work[Jobs].claim("w", 60, 3, [Queue.HOUSEKEEPING]).id == imported.id
        assert work[Jobs].claim("w", 60, 3, [Queue.HOUSEKEEPING]) is None
        assert work[Jobs].claimable() == {Queue.GPU}
        assert work[Jobs].claim("w", 60, 3, [Queue.GPU]).id == scoring.id


PROCESSES, THREADS = 4, 2

MODELS, JOBS = 8, 6


def work_off(url: str) -> list[str]:
    """Claim and finish jobs with a few threads until none is left; the ids claimed."""
    transactions = Transactions(url)

    def run(_thread: int) -> list[str]:
        claimed = []
        while True:
            with transactions() as work:
                job = work[Jobs].claim("w", 60, 3)
                work.commit()
            if job is None:
                with transactions(read_only=True) as work:
                    if not any(
                        work[Jobs].page(1, None, status=status)
                        for status in (JobStatus.QUEUED, JobStatus.RUNNING)
                    ):
                        return claimed
                time.sleep(0.005)
                continue
            claimed.append(job.id)
            with transactions(read_only=True) as work:
                running = work[Jobs].page(9, None, model=job.model, status=JobStatus.RUNNING)
                assert [one.id for one in running] == [job.id]
            with transactions() as work:
                work[Jobs].add_event(job.id, "claimed", {}, NOW)
                work[Jobs].finish(job.succeed({}, NOW), job.fence)
                work.commit()

    with ThreadPoolExecutor(THREADS) as pool:
        claimed = [job for some in pool.map(run, range(THREADS)) for job in some]
    transactions.close()
    return claimed


def forking() -> BaseContext:
    """Processes that fork from one that has loaded this module and nothing else."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def test_each_job_is_claimed_once_and_in_order(
    url: str, transactions: Transactions, make_model: Callable[[], Model]
) -> None:
    models = [make_model() for _ in range(MODELS)]
    made = [a_job(model) for _ in range(JOBS) for model in models]
    store(transactions, *made)
    with ProcessPoolExecutor(PROCESSES, mp_context=forking()) as pool:
        claimed = Counter(job for some in pool.map(work_off, [url] * PROCESSES) for job in some)
    assert claimed == Counter(job.id for job in made)
    with transactions(read_only=True) as work:
        done = work[Jobs].page(1000, None)
    assert {(job.status, job.fence, job.attempt) for job in done} == {(JobStatus.SUCCEEDED, 1, 1)}
    for model in models:
        starts = [job.started_at for job in done if job.model == model.id]
        assert starts == sorted(starts, reverse=True)  # the page is newest first


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_claim_passes_over_a_model_that_another_claim_holds(
    transactions: Transactions, make_model: Callable[[], Model]
) -> None:
    held, free = make_model(), make_model()
    store(transactions, *map(a_job, (held, held, free)))
    with transactions() as first, transactions() as second:
        assert first[Jobs].claim("a", 60, 3).model == held.id
        began = time.monotonic()
        assert second[Jobs].claim("b", 60, 3).model == free.id
        assert second[Jobs].claim("b", 60, 3) is None
        assert time.monotonic() - began < 1


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_job_that_is_committed_late_is_not_claimed_beside_its_successor(
    transactions: Transactions,
) -> None:
    early, late = a_job_of_no_model("lane"), a_job_of_no_model("lane")
    found: list[Job | None] = []
    claiming = threading.Thread(target=lambda: found.append(claim(transactions)))
    with transactions() as slow:
        slow[Jobs].add(early)
        store(transactions, late)
        with transactions() as first:
            assert first[Jobs].claim("a", 60, 3).id == late.id
            slow.commit()
            claiming.start()  # finds `early`, and waits to learn whether `late` is claimed
            wait_for(lambda: waiting(transactions), seconds=60, every=0.01)
            first.commit()
    claiming.join(60)
    assert found == [None]
    with transactions(read_only=True) as work:
        statuses = [work[Jobs].get(job.id).status for job in (early, late)]
    assert statuses == [JobStatus.QUEUED, JobStatus.RUNNING]


@pytest.mark.parametrize("numbered", ["versions", "events of a job"])
def test_numbers_of_versions_are_given_once(
    transactions: Transactions, model: Model, numbered: str
) -> None:
    [job] = queue(transactions, model)

    def number(_asker: int) -> int:
        with transactions() as work:
            if numbered == "versions":
                found = work[Versions].next_number(model.id)
            else:
                found = work[Jobs].add_event(job.id, "progress", {}, NOW).sequence
            work.commit()
        return found

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(number, range(40))) == list(range(1, 41))


ROWS = 4000

EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN "}


@pytest.mark.parametrize(
    ("models", "queued"),
    [(1, 1.0), (5, 0.004), (100, 1.0)],  # of so many models, the share that waits
)
def test_claim_never_reads_through_all_jobs(
    url: str, make_model: Callable[[], Model], models: int, queued: float
) -> None:
    made = [make_model() for _ in range(models)]
    ended = round(ROWS * (1 - queued))
    statuses = [JobStatus.SUCCEEDED] * ended + [JobStatus.QUEUED] * (ROWS - ended)
    rows = [a_job(made[n % models], status=status) for n, status in enumerate(statuses)]
    with writing(url) as connection:
        connection.execute(insert(jobs), [to_row(job) for job in rows])
        connection.execute(text("ANALYZE"))
        heads = claimable_heads(connection, tuple(Queue)).limit(1)
        statement = heads.compile(connection, compile_kwargs={"literal_binds": True})
        explained = text(EXPLAIN[connection.dialect.name] + str(statement))
        plan = "\n".join(str(row) for row in connection.execute(explained))
    assert "ix_jobs_heads" in plan
    assert "SCAN jobs" not in plan
    assert "SCAN others" not in plan
    assert "Seq Scan on jobs" not in plan
