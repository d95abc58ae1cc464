"""Events in the life of a worker: messages, delays, stops, kills and expired leases."""

from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from core.errors import LeaseLost
from core.jobs.rows import Jobs
from core.jobs.rules import Progress
from core.values import Digest, JobId
from tests.nightly.machine.machine import WHICH, Machine, pick
from tests.nightly.machine.steps import Process

MOST, RECENT = 3, 4

POINTS = st.sampled_from([1000, 0, 1, 2, 3, 5, 8, 13, 21])  # an update has about thirty

COMMITS = ("erase", "publish", "checkpoint", "claim", "evaluate", "verdict", "promote")

DEATHS = st.sampled_from(
    [f"{commit}.{side}" for commit in COMMITS for side in ("before", "after")] + ["put"]
)

# What a claimant may write; each names its fence.
WRITES: list[Callable[[Jobs, JobId, int], object]] = [
    lambda jobs, job, fence: jobs.status(job, fence),
    lambda jobs, job, fence: jobs.advance(
        job, fence, lease_s=60, phase="training", progress=Progress()
    ),
    lambda jobs, job, fence: jobs.set_checkpoint(job, fence, Digest("0" * 64)),
    lambda jobs, job, fence: jobs.set_version(job, fence, 1),
    lambda jobs, job, fence: jobs.finish(jobs.get(job), fence),
    lambda jobs, job, fence: jobs.release(job, fence),
]


class Workers(Machine):
    """Several at once, each with one job to see through."""

    @precondition(lambda self: self.workers() or self.unfinished())
    @rule(which=WHICH, points=POINTS, death=st.none() | DEATHS)
    def work(self, which: int, points: int, death: str | None) -> None:
        """A worker goes on, or one receives a message, for whichever job and however often before.

        It rests after so many points, or dies at the next one that is named so.
        """
        workers: list[Process | None] = [*self.workers()]
        if len(workers) < MOST:
            workers.append(None)
        worker = pick(workers, which) or self.world.start_worker()
        if death is None:
            self.advance(worker, lambda: worker.go_on(points))
        else:
            self.strike(worker, death)

    @precondition(lambda self: self.workers())
    @rule(which=WHICH, gently=st.booleans())
    def end(self, which: int, gently: bool) -> None:
        """A worker dies where it rests, or is asked to end: it gives back what it has."""
        worker = pick(self.workers(), which)
        worker.stopping = gently
        self.advance(worker, worker.go_on if gently else worker.die)
        self.happened["worker stopped" if gently else "worker killed at rest"] += 1

    @precondition(lambda self: self.claims)
    @rule(which=WHICH)
    def lose_lease(self, which: int) -> None:
        """The lease of a worker passes: it is dead, or hangs and may go on later."""
        self.lease_passes(pick(list(self.claims)[-RECENT:], which))

    @precondition(lambda self: self.workers() or self.unfinished())
    @rule(which=WHICH, points=POINTS)
    def overtake(self, which: int, points: int) -> None:
        """A worker hangs past its lease, another takes its job, and then it wakes up."""
        if not self.workers():
            prepared = self.world.start_worker()
            self.advance(prepared, lambda: prepared.go_on(3))  # past its claim
        if not self.workers():
            return  # it ended before
        hung = pick(self.workers(), which)
        self.lease_passes(hung.name)
        other = self.world.start_worker()
        self.advance(other, lambda: other.go_on(points))
        self.advance(hung, hung.go_on)

    @precondition(lambda self: self.stale_claims())
    @rule(which=WHICH, write=st.sampled_from(WRITES))
    def write_from_the_grave(self, which: int, write: Callable[[Jobs, JobId, int], object]) -> None:
        """Who has lost a job can write nothing to it."""
        job, fence = pick(self.stale_claims(), which)
        before = self.rows()
        with self.world.transactions() as work:
            with pytest.raises(LeaseLost):
                write(work[Jobs], job, fence)
            work.commit()
        assert self.rows() == before
        self.happened["stale write refused"] += 1

    def workers(self) -> list[Process]:
        """Those that live."""
        return [process for process in self.world.living if process.name.startswith("worker")]

    def stale_claims(self) -> list[tuple[JobId, int]]:
        """Claims that hold no more."""
        return [claim for claim in self.claims.values() if self.is_stale(*claim)]

    def strike(self, worker: Process, death: str) -> bool:
        """Have a worker go on and die at a point; False if it ended before."""
        died = self.advance(worker, lambda: worker.go_and_die(death))
        self.happened[f"worker killed at {death}"] += died
        return died
