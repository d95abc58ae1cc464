"""How fast jobs leave the queue, and what a claim costs as the queue grows.

`make bench-queue` (ARGS="--jobs 200 --sizes 10 100 1000 10000"), on a PostgreSQL that syncs every
commit and on SQLite. First 4 worker processes work off 200 updates of 20 models: claim, lease,
fence, candidate, report, verdict and end are the service's own code, training and scoring take no
time. Then one claim at a time, on queues of more and more rows; `claims_plan.py` says what is
counted. Exits with 1 when a claim's work is not flat.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import claims_plan
from benchmarks.bench import publish, show
from core.adapters.artifacts.local import LocalArtifacts
from core.adapters.database.migrate import migrate
from core.adapters.database.unit_of_work import SqlTransactions
from core.bootstrap import close, utc_now
from core.domain.jobs.job import Job, JobStatus
from core.ports import Platform
from core.settings import Settings
from core.use_cases.job_handlers import Tools
from core.use_cases.run_job import run_next_job
from tests.support.scene import Scene, Script
from tests.support.servers.postgres import DURABLE, postgres_server, run_sql

WORKERS, MODELS = 4, 20
START_S = 15.0  # enough for every worker to import its modules
FLAT = 3.0  # growth allowed: ten rows are one page; an index look-up reads two or three


def platform_of(url: str, folder: Path) -> Platform:
    """Return a platform on a database and a folder of artifacts."""
    return Platform(
        settings=Settings(home=folder, checkpoint_seconds=3600.0),
        transactions=SqlTransactions(url),
        artifacts=LocalArtifacts(folder / "artifacts"),
        clock=utc_now,
    )


def work_off(url: str, folder: Path, name: str, begin: float, whole: bool) -> list[float]:
    """Run jobs until none waits; return the seconds that each took, including its claim.

    With `whole` false, jobs are only claimed and finished.
    """
    platform = platform_of(url, folder)
    script = Script(platform)  # trains and scores in no time
    tools = Tools(importer=script, trainer=script, evaluator=script)
    took: list[float] = []
    time.sleep(max(0.0, begin - time.time()))
    while True:
        began = time.perf_counter()
        if whole:
            job = run_next_job(platform, tools, owner=name, stopping=lambda: False)
            script.tasks.clear()
        else:
            job = claim_and_finish(platform, name)
        if job is not None:
            took.append(time.perf_counter() - began)
        elif not waiting(platform):
            close(platform)
            return took


def claim_and_finish(platform: Platform, owner: str) -> Job | None:
    """Claim and finish a job: the two transactions without which no job leaves the queue."""
    with platform.transactions() as work:
        job = work.jobs.claim(owner, 60, 3)
        work.commit()
    if job is not None:
        with platform.transactions() as work:
            work.jobs.finish(job.succeed({}, platform.clock()), job.fence)
            work.commit()
    return job


def waiting(platform: Platform) -> bool:
    """Return whether a job is queued; it cannot be claimed while its model is busy."""
    with platform.transactions(read_only=True) as work:
        return bool(work.jobs.page(1, None, status=JobStatus.QUEUED))


def drain(database: str, url: str, folder: Path, count: int, *, whole: bool) -> dict[str, Any]:
    """Order updates, let the workers run them, and return a row of times and counts."""
    migrate(url)
    platform = platform_of(url, folder)
    scene = Scene(platform.transactions, platform.artifacts)
    data = scene.frozen("cat", "dog")
    models = [scene.model(f"m{number}") for number in range(MODELS)]
    orders = [scene.update(models[n % MODELS], data, auto_promote=False) for n in range(count)]
    begin = time.time() + START_S
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, mp_context=spawning) as pool:
        runs = [pool.submit(work_off, url, folder, f"w{n}", begin, whole) for n in range(WORKERS)]
        took = [seconds for run in runs for seconds in run.result()]
        lasted = time.time() - begin
    ended = [scene.job(job) for job in orders]
    versions = sum(len(scene.versions(model)) - 1 for model in models)
    close(platform)
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


@contextmanager
def databases(folder: Path) -> Iterator[dict[str, list[str]]]:
    """Yield the URLs of new databases by kind, as many as the measurements need."""
    count = 2 + len(claims_plan.SHAPES)
    with postgres_server(DURABLE) as server:
        for number in range(count):
            run_sql(server.url, "postgres", f"CREATE DATABASE bench{number}")
        yield {
            "PostgreSQL": [server.url.format(name=f"bench{n}") for n in range(count)],
            "SQLite": [f"sqlite:///{folder / f'bench{n}.db'}" for n in range(count)],
        }


def main() -> int:
    """Run both measurements on both databases; return 0 when claims are flat."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000, 10_000])
    arguments = parser.parse_args()
    drained, rows, plans = [], [], {}
    with tempfile.TemporaryDirectory() as name, databases(Path(name)) as urls:
        for database, (first, second, *others) in urls.items():
            for url, whole in ((first, True), (second, False)):
                folder = Path(name) / f"{database} {whole}"
                drained.append(drain(database, url, folder, arguments.jobs, whole=whole))
            for shape, url in zip(claims_plan.SHAPES, others, strict=True):
                for row, plan in claims_plan.grow(database, url, shape, arguments.sizes):
                    rows.append(row)
                    plans[f"{database}, {row['size']} rows, {shape}"] = plan
    for title, plan in plans.items():
        print(f"\n{title}\n{plan}")
    show(f"{arguments.jobs} jobs of {MODELS} models on {WORKERS} workers", drained)
    growth = claims_plan.growth(rows)
    publish("queue", rows, drained=drained, growth=growth, plans=plans)
    show("growth of the work of a claim", growth)
    return int(any(row["as it is"] > FLAT for row in growth if row["models"] == "fixed"))


if __name__ == "__main__":
    raise SystemExit(main())
