"""A worker that is stopped past its lease, goes on later, and finds every write refused."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from time import sleep

import psutil

from core.domain.values import JobId
from tests.faults.points import STOP, Blow
from tests.faults.rows.worker_kill import judge
from tests.faults.stage import Stage, now, until
from tests.faults.tries import Try

# Each is followed by another write by fence: progress or checkpoint, candidate, answers, the end.
POINTS = (
    "put-weights.after",
    "put-checkpoint.after",
    "put-report.after",
    "claim.after",
    "put-answers.after",
)
REFUSED = "the lease is lost, the job is left to its new owner"


def run(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """By turns at a point and at a random moment; it wakes during the next run or after it."""
    for number in range(tries):
        wakes_late = moments.random() < 0.3
        stage.ready()
        if number % 2 == 0:
            yield at_point(stage, POINTS[number // 2 % len(POINTS)], wakes_late=wakes_late)
        else:
            yield at_moment(stage, moments.random(), wakes_late=wakes_late)


def at_point(stage: Stage, point: str, *, wakes_late: bool) -> Try:
    """Stop the worker that reaches a point."""
    stage.points.arm(point, Blow(signal=STOP, whole=True))
    job = stage.order()
    struck = until(lambda: stage.points.struck_at(point))
    stopped = until(lambda: stage.holder(job))
    return _wake(stage, job, stopped, struck, point, wakes_late=wakes_late)


def at_moment(stage: Stage, fraction: float, *, wakes_late: bool) -> Try:
    """Stop whoever holds the job a part of its usual time after the claim."""
    job = stage.order()
    stopped = until(lambda: stage.holder(job))
    sleep(fraction * stage.lasts_s)
    for process in stopped:
        process.suspend()
    what = f"at {fraction:.2f}, {stage.find(job).phase}"
    return _wake(stage, job, stopped, now(), what, wakes_late=wakes_late)


def _wake(
    stage: Stage,
    job: JobId,
    stopped: tuple[psutil.Process, psutil.Process],
    struck: float,
    what: str,
    *,
    wakes_late: bool,
) -> Try:
    log = len(stage.site.log)
    seen = stage.find(job)
    if not seen.status.done:
        until(lambda: stage.find(job).fence > seen.fence)
    if wakes_late:
        stage.wait_for_end(job)
    for process in stopped:
        process.resume()
    tried = judge(stage, job, struck, f"{what}, wakes {'late' if wakes_late else 'early'}")
    if not seen.status.done:
        until(lambda: _is_refused(stage, log, seen.fence, job))
    return replace(tried, trouble=tried.trouble)


def _is_refused(stage: Stage, log: int, fence: int, job: JobId) -> bool:
    """Whether the worker with this fence was told that it has lost its lease."""
    return any(
        line.get("event") == REFUSED and line["job"] == job and line["fence"] == fence
        for line in stage.lines(log)
    )
