"""Re-embed datasets by one, two and four workers of the same queue, and say what a vector costs.

    python -m benchmarks.reembed --images 1000

Four datasets of a model are ordered at once; a worker takes one after another. Each number of
workers does so until every one of them has taken a dataset, and once more. The first time begins
when all have loaded torch, and has what each worker does once, such as starting its decoders; the
last is what a long re-embedding comes to. CPU time is that of the workers' children, which compute,
and not of their supervisors, which watch them whether they work or not.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from api.embedded import to_environment
from benchmarks.output import publish
from benchmarks.queue.drain import REQUEST, NoNotifier, freeze_images, pets
from core.bases.create_model import create_model
from core.bootstrap import build, close, migrate
from core.datasets.rules import DatasetVersion
from core.datasets.thumbnail_rows import ensure_split
from core.fleet.rows import Heartbeats
from core.gate.policies import ensure_default_policy
from core.jobs.broker import CeleryNotifier
from core.jobs.rows import Jobs
from core.jobs.rules import EventKind, JobStatus
from core.platform import Platform
from core.settings import Settings
from core.values import JobId
from core.vectors.reembed import order_reembedding

SHARDS = 4  # datasets
WORKERS = (1, 2, 4)
MODEL = "demo"
LOOK_S = 0.1
LATEST = 1000  # events of a job, more than it has


@contextmanager
def workers(settings: Settings, count: int) -> Iterator[list[psutil.Process]]:
    """Run so many workers that have loaded torch, and stop them."""
    environment = os.environ | to_environment(settings) | {"PERENNIAL_QUEUES": '["gpu"]'}
    command = [sys.executable, "-m", "worker.supervision", "--exit-with-parent"]
    started = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(count)
    ]
    try:
        yield [psutil.Process(one.pid) for one in started]
    finally:
        for one in started:
            one.terminate()
        for one in started:
            one.wait()


def loaded(platform: Platform) -> int:
    """Return the number of workers that know their device."""
    with platform.transactions(read_only=True) as work:
        return sum("device" in beat.facts for beat in work[Heartbeats].all())


def cpu_s(processes: Sequence[psutil.Process]) -> float:
    """Return the CPU seconds of all children of processes, also of children that ended."""
    family = itertools.chain(*(one.children(recursive=True) for one in processes))
    return sum(sum(one.cpu_times()[:4]) for one in family)


@dataclass(frozen=True, kw_only=True)
class Round:
    """The costs of storing the vectors of all datasets, and who has done it."""

    cpu: float  # seconds
    wall: float
    owners: frozenset[str]  # of the jobs: workers' children


def measured(
    platform: Platform, data: Sequence[DatasetVersion], processes: Sequence[psutil.Process]
) -> Round:
    """Have workers store the vectors of all datasets, and return what that took."""
    spent, began = cpu_s(processes), time.monotonic()
    owners = reembed(platform, data)
    wall = time.monotonic() - began
    return Round(cpu=cpu_s(processes) - spent, wall=wall, owners=owners)


def reembed(platform: Platform, data: Sequence[DatasetVersion]) -> frozenset[str]:
    """Order the vectors of each dataset version; return the jobs' owners once all are stored."""
    notifier = CeleryNotifier(platform.settings)
    ordered = [
        order_reembedding(
            platform,
            notifier,
            REQUEST,
            model=MODEL,
            version=1,
            dataset=one.dataset,
            dataset_version=one.number,
        ).id
        for one in data
    ]
    notifier.close()
    while not all(status.done for status in statuses(platform, ordered)):
        time.sleep(LOOK_S)
    if {*statuses(platform, ordered)} != {JobStatus.SUCCEEDED}:
        raise RuntimeError("a re-embedding has failed")
    with platform.transactions(read_only=True) as work:
        events = [one for job in ordered for one in work[Jobs].newest_events(job, LATEST)]
    return frozenset(str(one.data["owner"]) for one in events if one.kind == EventKind.CLAIMED)


def statuses(platform: Platform, jobs: Sequence[JobId]) -> Sequence[JobStatus]:
    """Return the statuses of some jobs."""
    with platform.transactions(read_only=True) as work:
        return [*work[Jobs].statuses(jobs).values()]


def prepare(platform: Platform, images: int) -> Sequence[DatasetVersion]:
    """Import the bundled model by a worker of its own, and freeze the datasets."""
    ensure_default_policy(platform)
    ensure_split(platform)
    job = create_model(platform, NoNotifier(), REQUEST, name=MODEL, base="bundled")
    subprocess.run(
        [sys.executable, "-m", "worker.supervision", "--job", job.id],
        env=os.environ | to_environment(platform.settings),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    entries = pets(platform, SHARDS * images)
    return [
        freeze_images(platform, entries[start::SHARDS], name=f"part-{start}")
        for start in range(SHARDS)
    ]


def main() -> None:
    """Measure each number of workers in turn, as often as asked for, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000, help="of each of the four datasets")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home), threads=1, min_free_bytes=1)
        migrate(settings)
        platform = build(settings)
        data = prepare(platform, arguments.images)
        first: dict[int, list[Round]] = defaultdict(list)
        later: dict[int, list[Round]] = defaultdict(list)
        for _, count in itertools.product(range(arguments.repeats), WORKERS):
            with workers(settings, count) as processes:
                while loaded(platform) < count:
                    time.sleep(LOOK_S)
                first[count].append(begun := measured(platform, data, processes))
                known = begun.owners
                while len(known) < count:
                    known |= reembed(platform, data)
                later[count].append(measured(platform, data, processes))
        close(platform)
    total = SHARDS * arguments.images

    def cpu(rounds: Sequence[Round]) -> list[float]:
        return [1000 * one.cpu / total for one in rounds]

    rows = [
        {
            "workers": count,
            "first: CPU ms a vector": statistics.median(cpu(first[count])),
            "later: CPU ms a vector": statistics.median(cpu(later[count])),
            "least": min(cpu(later[count])),
            "most": max(cpu(later[count])),
            "vectors a second": total / statistics.median(one.wall for one in later[count]),
        }
        for count in WORKERS
    ]
    publish("reembed", rows, vectors=total, repeats=arguments.repeats)


if __name__ == "__main__":
    main()
