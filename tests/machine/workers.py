"""What befalls workers: rings, delays, ends in order, deaths, and leases that pass."""

from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from core.domain.update import Progress
from core.domain.values import Digest, JobId
from core.errors import LeaseLost
from core.ports import Jobs
from tests.machine.machine import WHICH, Machine, pick
from tests.machine.steps import Process

MOST = 3
POINTS = st.integers(0, 30) | st.just(1000)  # an update has about thirty
COMMITS = ("claim", "other", "checkpoint", "publish", "evaluate", "verdict", "promote")
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

    @precondition(lambda self: len(self.workers()) < MOST)
    @rule(points=POINTS)
    def deliver(self, points: int) -> None:
        """A doorbell is heard, for whichever job and however often it was before."""
        worker = self.world.start_worker()
        self.advance(worker, lambda: worker.go_on(points))

    @precondition(lambda self: len(self.workers()) < MOST)
    @rule(death=DEATHS)
    def deliver_and_kill(self, death: str) -> None:
        """The same, by a worker that dies at the first such point."""
        self.kill_at(self.world.start_worker(), death)

    @precondition(lambda self: self.workers())
    @rule(which=WHICH, points=POINTS)
    def work(self, which: int, points: int) -> None:
        """A worker goes on."""
        worker = pick(self.workers(), which)
        self.advance(worker, lambda: worker.go_on(points))

    @precondition(lambda self: self.workers())
    @rule(which=WHICH, death=DEATHS)
    def work_and_kill(self, which: int, death: str) -> None:
        """A worker goes on, and dies at the next such point."""
        self.kill_at(pick(self.workers(), which), death)

    @precondition(lambda self: self.workers())
    @rule(which=WHICH)
    def kill(self, which: int) -> None:
        """A worker dies where it rests."""
        worker = pick(self.workers(), which)
        self.advance(worker, worker.die)
        self.happened["worker killed at rest"] += 1

    @precondition(lambda self: self.workers())
    @rule(which=WHICH)
    def stop(self, which: int) -> None:
        """A worker is asked to end: it keeps what it has and gives its job back."""
        worker = pick(self.workers(), which)
        worker.stopping = True
        self.advance(worker, worker.go_on)
        self.happened["worker stopped"] += 1

    @precondition(lambda self: self.claims)
    @rule(which=WHICH)
    def lose_lease(self, which: int) -> None:
        """The lease of a worker passes: it is dead, or hangs and may go on later."""
        self.lease_passes(pick(list(self.claims), which))

    @precondition(lambda self: self.stale_claims())
    @rule(which=WHICH, write=st.sampled_from(WRITES))
    def write_from_the_grave(self, which: int, write: Callable[[Jobs, JobId, int], object]) -> None:
        """Who has lost a job can write nothing to it."""
        job, fence = pick(self.stale_claims(), which)
        before = self.rows()
        with self.world.transactions() as work:
            with pytest.raises(LeaseLost):
                write(work.jobs, job, fence)
            work.commit()
        assert self.rows() == before
        self.happened["stale write refused"] += 1

    def workers(self) -> list[Process]:
        """Those that live."""
        return [process for process in self.world.living if process.name.startswith("worker")]

    def stale_claims(self) -> list[tuple[JobId, int]]:
        """Claims that hold no more."""
        return [claim for claim in self.claims.values() if self.is_stale(*claim)]

    def kill_at(self, worker: Process, death: str) -> None:
        """Go on to a point and die there, unless all ends before."""
        if self.advance(worker, lambda: worker.go_and_die(death)):
            self.happened[f"worker killed at {death}"] += 1
