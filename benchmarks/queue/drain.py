"""Time worker processes that work off a queue of updates whose training takes no time."""

import multiprocessing
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.queue.no_op_tools import instant_tools
from benchmarks.queue.orders import freeze_images, import_models, queue_updates
from core.adapters.artifacts.local import LocalArtifacts
from core.adapters.database.migrate import migrate
from core.adapters.database.unit_of_work import SqlTransactions
from core.bootstrap import close, utc_now
from core.domain.jobs.job import Job, JobStatus
from core.ports import Platform
from core.settings import Settings
from core.use_cases.run_job import run_next_job

WORKERS, MODELS = 4, 20
START_S = 15.0  # enough for every worker to import its modules


@contextmanager
def opened(url: str, folder: Path) -> Iterator[Platform]:
    """Yield a platform on a database and a folder of artifacts."""
    platform = Platform(
        settings=Settings(
            home=folder, checkpoint_seconds=3600.0, max_waiting_per_model=0, max_waiting_per_key=0
        ),
        transactions=SqlTransactions(url),
        artifacts=LocalArtifacts(folder / "artifacts"),
        clock=utc_now,
    )
    yield platform
    close(platform)


def drain(database: str, url: str, folder: Path, count: int, *, whole: bool) -> dict[str, Any]:
    """Order updates, let the workers run them, and return a row of times and counts."""
    migrate(url)
    with opened(url, folder) as platform:
        models = import_models(platform, MODELS)
        orders = queue_updates(platform, models, freeze_images(platform), count)
        begin = time.time() + START_S
        spawning = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(WORKERS, mp_context=spawning) as pool:
            runs = [
                pool.submit(work_off, url, folder, f"w{n}", begin, whole) for n in range(WORKERS)
            ]
            took = [seconds for run in runs for seconds in run.result()]
            lasted = time.time() - begin
        with platform.transactions(read_only=True) as work:
            ended = [work.jobs.get(job.id) for job in orders]
            versions = sum(len(work.versions.all(model.id)) - 1 for model in models)
    return {
        "database": database,
        "what": "whole jobs" if whole else "claim and finish alone",
        "jobs": count,
        "seconds": round(lasted, 2),
        "claims per s": round(count / lasted, 1),
        "ms a job, median": round(1000 * statistics.median(took), 1),
        "succeeded": sum(job.status is JobStatus.SUCCEEDED for job in ended),
        "claims": sum(job.attempt for job in ended),
        "versions": versions,
    }


def work_off(url: str, folder: Path, name: str, begin: float, whole: bool) -> list[float]:
    """Run jobs until none waits; return the seconds that each took, including its claim.

    With `whole` false, jobs are only claimed and finished.
    """
    took: list[float] = []
    with opened(url, folder) as platform:
        tools = instant_tools(platform)
        time.sleep(max(0.0, begin - time.time()))
        while True:
            began = time.perf_counter()
            if whole:
                job = run_next_job(platform, tools, owner=name, stopping=lambda: False)
            else:
                job = _claim_and_finish(platform, name)
            if job is not None:
                took.append(time.perf_counter() - began)
            elif not _is_any_queued(platform):
                return took


def _claim_and_finish(platform: Platform, owner: str) -> Job | None:
    """Claim and finish a job: the two transactions without which no job leaves the queue."""
    with platform.transactions() as work:
        job = work.jobs.claim(owner, 60, 3)
        work.commit()
    if job is not None:
        with platform.transactions() as work:
            work.jobs.finish(job.succeed({}, platform.clock()), job.fence)
            work.commit()
    return job


def _is_any_queued(platform: Platform) -> bool:
    """Return whether a job is queued; it cannot be claimed while its model is busy."""
    with platform.transactions(read_only=True) as work:
        return bool(work.jobs.page(1, None, status=JobStatus.QUEUED))
