"""Many processes and threads claiming at once."""

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.context import BaseContext

import pytest

from core.database.work import Transactions
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus
from core.registry.rows import Versions
from core.registry.versions import Model
from tests.support.factories import NOW, a_job

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
    with transactions() as work:
        made = [a_job(model) for _ in range(JOBS) for model in models]
        for job in made:
            work[Jobs].add(job)
        work.commit()
    with ProcessPoolExecutor(PROCESSES, mp_context=forking()) as pool:
        claimed = Counter(job for some in pool.map(work_off, [url] * PROCESSES) for job in some)
    assert claimed == Counter(job.id for job in made)
    with transactions(read_only=True) as work:
        done = work[Jobs].page(1000, None)
    assert {(job.status, job.fence, job.attempt) for job in done} == {(JobStatus.SUCCEEDED, 1, 1)}
    for model in models:
        starts = [job.started_at for job in done if job.model == model.id]
        assert starts == sorted(starts, reverse=True)  # the page is newest first


def test_one_job_of_a_model_runs_at_a_time(
    transactions: Transactions, make_model: Callable[[], Model]
) -> None:
    models = [make_model() for _ in range(3)]
    with transactions() as work:
        for model in models * 4:
            work[Jobs].add(a_job(model))
        work.commit()

    def claim(_claimer: int) -> str | None:
        with transactions() as work:
            job = work[Jobs].claim("w", 60, 3)
            work.commit()
        return job.model if job else None

    with ThreadPoolExecutor(12) as pool:
        claimed = Counter(filter(None, pool.map(claim, range(12))))
    for _ in models:  # a claim passes over a model that another one holds: ask again
        claimed.update(filter(None, [claim(0)]))
    assert claimed == Counter(model.id for model in models)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_claim_passes_over_a_model_that_another_claim_holds(
    transactions: Transactions, make_model: Callable[[], Model]
) -> None:
    held, free = make_model(), make_model()
    with transactions() as work:
        for model in (held, held, free):
            work[Jobs].add(a_job(model))
        work.commit()
    with transactions() as first, transactions() as second:
        assert first[Jobs].claim("a", 60, 3).model == held.id
        began = time.monotonic()
        assert second[Jobs].claim("b", 60, 3).model == free.id
        assert second[Jobs].claim("b", 60, 3) is None
        assert time.monotonic() - began < 1


def test_events_of_many_threads_are_numbered_without_gap(
    transactions: Transactions, model: Model
) -> None:
    job = a_job(model)
    with transactions() as work:
        work[Jobs].add(job)
        work.commit()

    def emit(_teller: int) -> int:
        with transactions() as work:
            sequence = work[Jobs].add_event(job.id, "progress", {}, NOW).sequence
            work.commit()
        return sequence

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(emit, range(40))) == list(range(1, 41))


def test_numbers_of_versions_are_given_once(transactions: Transactions, model: Model) -> None:
    def number(_asker: int) -> int:
        with transactions() as work:
            found = work[Versions].next_number(model.id)
            work.commit()
        return found

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(number, range(40))) == list(range(1, 41))
