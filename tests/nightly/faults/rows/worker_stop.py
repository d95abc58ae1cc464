"""A worker that is stopped past its lease, goes on later, and finds every write refused."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

import psutil

from core.jobs.rules import Job
from core.values import JobId
from tests.nightly.faults.points import STOP, Blow
from tests.nightly.faults.rows.worker_end import under_way
from tests.nightly.faults.rows.worker_kill import judge
from tests.nightly.faults.stage import Stage, now, until
from tests.nightly.faults.tries import Try

# Each kind of write by fence, by turns about to begin and within its open transaction.
POINTS = (
    "put-checkpoint.after",
    "publish.before",
    "put-answers.after",
    "verdict.before",
    "claim.after",
    "claim.before",
    "put-weights.after",
    "checkpoint.before",
    "put-report.after",
    "promote.before",
)

# What a worker says when its fence holds no longer.
REFUSED = {
    "lost the lease: another worker now runs the job",
    "lost the lease: the job was not returned to the queue",
    "lost the lease: the job was not paused",
    "lost the lease: another worker will record the job's end",
}


def run(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """By turns at a point and at a random moment; it wakes during the next run or after it."""
    for number in range(tries):
        wakes_late = moments.random() < 0.3
        stage.ready()
        if number % 2 == 0:
            yield at_point(stage, POINTS[number // 2 % len(POINTS)], wakes_late=wakes_late)
        else:
            yield at_moment(stage, moments, wakes_late=wakes_late)


def at_point(stage: Stage, point: str, *, wakes_late: bool) -> Try:
    """Stop the worker that reaches a point."""
    stage.points.arm(point, Blow(signal=STOP, whole=True))
    job = stage.order()
    struck = until(lambda: stage.points.struck_at(point))
    stopped = until(lambda: _stopped(stage))
    tried = _wake(stage, job, stopped, struck, point, wakes_late=wakes_late)
    attempt = stage.find(job).attempt
    if point == "claim.before" and attempt != 1:  # a claim that was not committed never was
        return replace(tried, trouble=tried.trouble or f"{attempt} attempts")
    return tried


def at_moment(stage: Stage, moments: Random, *, wakes_late: bool) -> Try:
    """Stop whoever holds the job."""
    while True:
        job, stopped, fraction = under_way(stage, moments)
        for process in stopped:
            process.suspend()
        struck, seen = now(), stage.find(job)
        if not seen.status.done:
            what = f"at {fraction:.2f}, {seen.phase}"
            return _wake(stage, job, stopped, struck, what, wakes_late=wakes_late)
        for process in stopped:  # it ended just now
            process.resume()


def _wake(
    stage: Stage,
    job: JobId,
    stopped: Sequence[psutil.Process],
    struck: float,
    what: str,
    *,
    wakes_late: bool,
) -> Try:
    log = len(stage.site.log)
    seen = stage.find(job)  # on a slow machine the other worker may be at work already
    until(lambda: _went_on(stage.find(job), seen.fence))
    if wakes_late:
        stage.wait_for_end(job)
    for process in stopped:
        process.resume()
    tried = judge(stage, job, struck, f"{what}, wakes {'late' if wakes_late else 'early'}")
    if seen.fence:  # it had a claim
        until(lambda: _is_refused(stage, log, seen.fence, job))
    return tried


def _stopped(stage: Stage) -> list[psutil.Process]:
    """The worker that is stopped, parent first."""
    return next(
        (
            [supervisor, *supervisor.children()]
            for supervisor in stage.supervisors()
            if supervisor.status() == psutil.STATUS_STOPPED
        ),
        [],
    )


def _went_on(job: Job, fence: int) -> bool:
    return job.fence > fence or job.status.done


def _is_refused(stage: Stage, log: int, fence: int, job: JobId) -> bool:
    """Return whether a worker with this fence or an older one was told that it lost its lease."""
    return any(
        told.get("event") in REFUSED and told["job"] == job and told["fence"] <= fence
        for told in stage.lines(log)
    )
