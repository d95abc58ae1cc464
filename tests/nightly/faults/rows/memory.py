"""A worker runs out of memory: its job is given up after three attempts, the next one runs.

The kernel's part is played here: it kills the largest process, and that is the child, as soon as
it has grown too far. With a limit on the process, memory is refused instead.
"""

import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from random import Random
from threading import Event, Thread

import psutil

from core.jobs.rules import JobStatus
from core.values import JobId
from tests.nightly.faults import line
from tests.nightly.faults.rows.worker_kill import judge
from tests.nightly.faults.stage import Stage, now
from tests.nightly.faults.tries import Try

# A step of this update holds some 150 MB, for much less than a lease.
HUNGRY = {"sentences": 8_000, "sentence_length": 16}

ROOM = 64 << 20  # bytes beyond what a child holds when it is idle


def run(stage: Stage, tries: int, _moments: Random) -> Iterator[Try]:
    """By turns killed and refused."""
    for number in range(tries):
        stage.ready()
        yield killed(stage) if number % 2 == 0 else refused(stage)


def killed(stage: Stage) -> Try:
    """The kernel ends whoever has grown too far."""
    with _kernel(stage):
        job = _order_hungry(stage)
        ended = stage.wait_for_end(job)
    code = (ended.error or {}).get("code")
    good = ended.status is JobStatus.FAILED and code == "worker_lost" and ended.attempt <= 3
    trouble = "" if good else f"{ended.status} after {ended.attempt} attempts: {ended.error}"
    return _next(stage, f"killed, {ended.attempt} attempts, {code}", trouble)


def refused(stage: Stage) -> Try:
    """The process may not have more."""
    children = stage.children()
    for child in children:
        _limit(child, child.memory_info().vms + ROOM)
    try:
        job = _order_hungry(stage)
        ended = stage.wait_for_end(job)
    finally:
        for child in children:
            with suppress(psutil.NoSuchProcess):
                _limit(child, resource.RLIM_INFINITY)
    code = (ended.error or {}).get("code")
    good = ended.status is JobStatus.FAILED and code == "out_of_memory" and ended.attempt <= 3
    trouble = "" if good else f"{ended.status} after {ended.attempt} attempts: {ended.error}"
    return _next(stage, f"refused, {ended.attempt} attempts, {code}", trouble)


def _next(stage: Stage, what: str, trouble: str) -> Try:
    """The next job of the same model runs as if nothing had been."""
    given_up = now()
    tried = judge(stage, stage.order(), given_up, what)
    return replace(tried, trouble=trouble or tried.trouble)


def _order_hungry(stage: Stage) -> JobId:
    return stage.order(recipe=line.RECIPE.to_json() | HUNGRY)


def _limit(process: psutil.Process, most: int) -> None:
    process.rlimit(psutil.RLIMIT_AS, (most, resource.RLIM_INFINITY))


@contextmanager
def _kernel(stage: Stage) -> Iterator[None]:
    """Kills every worker child that holds more than it may."""
    most = max(child.memory_info().rss for child in stage.children()) + ROOM
    stopping = Event()

    def monitor() -> None:
        while not stopping.wait(0.03):
            for child in stage.children():
                with suppress(psutil.NoSuchProcess):
                    if child.memory_info().rss > most:
                        child.kill()

    thread = Thread(target=monitor, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
