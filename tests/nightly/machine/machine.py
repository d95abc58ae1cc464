"""The service, the record of its promises, and its workers: what all rules work on."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core.errors import LeaseLost, PerennialError
from core.jobs.rows import Jobs
from core.jobs.rules import Job, Progress
from core.registry.versions import Model, Version
from core.values import Digest, JobId
from tests.nightly.machine.promises import Promises
from tests.nightly.machine.steps import Process
from tests.nightly.machine.world import World

T = TypeVar("T")

WHICH = st.integers(0, 999)  # of those that there are


def pick(those: Sequence[T], which: int) -> T:
    return those[which % len(those)]


class Machine(RuleBasedStateMachine):
    """A service without rules. After every step its promises are checked."""

    happened: ClassVar[Counter[str]] = Counter()  # in all runs of this process

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.promises = Promises(self.world, happened=self.happened)
        self.claims: dict[str, tuple[JobId, int]] = {}  # by process, living or dead: job and fence

    @invariant()
    def promises_hold(self) -> None:
        """What can be told from rows."""
        self.happened["steps"] += 1
        self.promises.check()

    def teardown(self) -> None:
        """Let the living end and the leases of the dead pass, work off the queue, look again."""
        try:
            if sys.exc_info()[0] is None:  # nothing has failed so far
                self._drain()
                self.promises.check_end()
                self.happened["runs"] += 1
        finally:
            self.world.close()

    def _drain(self) -> None:
        for process in self.world.living:
            self.advance(process, process.go_on)
        for owner in self.claims:
            self.lease_passes(owner)
        self.promises.check()
        while left := self.unfinished():
            worker = self.world.start_worker()
            self.advance(worker, worker.go_on)
            self.promises.check()
            # A claim ends a job that was lost too often, and then may find no other.
            moved = worker.result is not None or len(self.unfinished()) < len(left)
            assert moved, "a job waits that no worker may claim"
        self.world.a_day_passes()
        self.advance(collection := self.world.start_collection(1), collection.go_on)

    # ---- Rows -------------------------------------------------------------------------------

    def unfinished(self) -> list[Job]:
        return [job for job in self.promises.jobs.values() if not job.status.done]

    def trained(self) -> list[tuple[Model, Version]]:
        """Versions that updates have made."""
        return [found for found in self.promises.versions if found[1].data is not None]

    def rows(self) -> object:
        """All that a worker may write, as it is now."""
        models = self.world.models()
        return (
            self.world.jobs(),
            [self.world.versions(model) for model in models],
            [self.world.alias(model) for model in models],
            self.world.erasures(),
            self.world.lessons,
        )

    # ---- Processes --------------------------------------------------------------------------

    def advance(self, process: Process, go: Callable[[], T]) -> T:
        """Have a process go on. One that has lost its job meanwhile changes no row."""
        stale = self.is_stale(*self.claims[process.name]) if process.name in self.claims else False
        before = self.rows() if stale else None
        result = go()
        if (job := self.world.claim_of(process)) is not None:
            self.claims[process.name] = (job.id, job.fence)
        if stale:
            assert self.rows() == before, "a worker has written to a job that it had lost"
            self.happened["stale worker went on"] += 1
        self.promises.gate.check()
        self.world.living = [process for process in self.world.living if not process.ended]
        return result

    def is_stale(self, job: JobId, fence: int) -> bool:
        """Whether a claim holds no more."""
        with self.world.reading() as work:
            found = work[Jobs].get(job)
        return found.status.done or found.fence != fence

    def lease_passes(self, owner: str) -> None:
        """Whatever a process holds may be claimed by others, though it may live on."""
        with self.world.transactions() as work:
            self.promises.passed_leases.update(held.id for held in work[Jobs].held(owner))
            work[Jobs].release_owner(owner)
            work.commit()

    def call(self, work: Callable[[], T], death: str | None) -> T | None:
        """What the API does when asked; None if it died at the point before it could answer."""
        if death is None:
            return work()
        process = self.world.start("api", lambda _: _attempt(work))
        died = self.advance(process, lambda: process.go_and_die(death))
        if died:
            self.happened[f"api killed at {death}"] += 1
            return None
        if isinstance(process.result, PerennialError):
            raise process.result
        return process.result


def _attempt(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except PerennialError as refusal:
        return refusal


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
        """A worker that has lost a job can write nothing to it."""
        job, fence = pick(self.stale_claims(), which)
        before = self.rows()
        with self.world.transactions() as work:
            with pytest.raises(LeaseLost):
                write(work[Jobs], job, fence)
            work.commit()
        assert self.rows() == before
        self.happened["stale write refused"] += 1

    def workers(self) -> list[Process]:
        return [process for process in self.world.living if process.name.startswith("worker")]

    def stale_claims(self) -> list[tuple[JobId, int]]:
        """Claims that hold no more."""
        return [claim for claim in self.claims.values() if self.is_stale(*claim)]

    def strike(self, worker: Process, death: str) -> bool:
        """Have a worker go on and die at a point; False if it ended before."""
        died = self.advance(worker, lambda: worker.go_and_die(death))
        self.happened[f"worker killed at {death}"] += died
        return died
