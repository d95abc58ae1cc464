"""A worker runs out of memory: its job is given up after three attempts, the next one runs.

The kernel's part is played here: it kills the largest process, and that is the child, as soon as
it has grown too far.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    """The kernel ends whoever has grown too far; the next job runs as if nothing had been."""
    for _ in range(tries):
        stage.ready()
        with _kernel(stage):
            ended = stage.wait_for_end(_order_hungry(stage))
        given_up = now()
        code = (ended.error or {}).get("code")
        good = ended.status is JobStatus.FAILED and code == "worker_lost" and ended.attempt <= 3
        trouble = "" if good else f"{ended.status} after {ended.attempt} attempts: {ended.error}"
        what = f"killed, {ended.attempt} attempts, {code}"
        yield judge(stage, stage.order(), given_up, what, trouble)


def _order_hungry(stage: Stage) -> JobId:
    return stage.order(recipe=line.RECIPE.to_json() | HUNGRY)


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
