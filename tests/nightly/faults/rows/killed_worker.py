"""SIGKILL of the worker that runs a job, and what the job has brought once it has ended."""

from collections.abc import Iterator, Mapping
from random import Random
from time import sleep
from typing import Protocol

from core.jobs.rules import JobStatus
from core.values import JobId
from tests.nightly.faults import line
from tests.nightly.faults.points import KILL, Blow
from tests.nightly.faults.stage import Stage, now, until
from tests.nightly.faults.tries import Try


class RepeatedJob(Protocol):
    """A job that may be ordered again and again, and that always brings the same."""

    points: Mapping[str, object]  # what it has brought at each named point

    def order(self) -> JobId:
        """Order the job, when nothing is left of what it brought before."""

    def brought(self) -> object:
        """Return what the job has brought by now."""

    def result(self) -> object:
        """Return all that the job has brought in the end, every byte read."""


def run(stage: Stage, job: RepeatedJob, tries: int, moments: Random) -> Iterator[Try]:
    """By turns at a named point and at a random moment, after a job that nothing disturbs."""
    began = now()
    stage.wait_for_end(job.order())
    lasts_s, wanted = now() - began, job.result()
    points = list(job.points)
    for number in range(tries):
        stage.ready()
        turn, at_random = divmod(number, 2)
        point = None if at_random else points[turn % len(points)]
        yield _strike(stage, job, point, lasts_s * moments.random(), wanted)


def _strike(
    stage: Stage, job: RepeatedJob, point: str | None, delay_s: float, wanted: object
) -> Try:
    trouble = ""
    if point is not None:
        stage.points.arm(point, Blow(signal=KILL, whole=True))
    ordered = job.order()
    if point is None:
        sleep(delay_s)
        struck = now()
        if holder := stage.holder(ordered):
            stage.kill(*holder)
    else:
        struck = until(lambda: stage.points.struck_at(point))
        stage.wait_for_api()
        if (brought := job.brought()) != job.points[point]:
            trouble = f"it had brought {brought}"
    ended = stage.wait_for_end(ordered)
    stage.wait_for_api()
    result = job.result()
    good = ended.status is JobStatus.SUCCEEDED
    if not good or result != wanted:
        trouble = trouble or f"{ended.status}, {ended.error}, {result}"[:500]
    return Try(
        what=f"worker at {point or f'{delay_s:.2f} s'}",
        trouble=trouble,
        lost=0 if good else 1,
        duplicated=line.kinds(stage.platform, ended).count("done") - 1,
        equal=result == wanted,
        recovery_s=stage.claimed_after(ordered, struck),
    )
