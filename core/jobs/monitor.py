"""The monitor of a running job: progress, lease, cancellation and events."""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from core.database.work import Work
from core.errors import CancelRequested, DatabaseUnavailable, LeaseLost, StopRequested, StorageFull
from core.jobs.claim_rows import Counters
from core.jobs.rows import Jobs
from core.jobs.rules import EventKind, Job, JobStatus, Progress
from core.platform import Platform
from core.tracing import Span, Untraced
from core.values import Digest, Json

log = logging.getLogger(__name__)

READ_EVERY_S = 0.1  # a step of an import may take a fraction of what reading the status takes
WRITE_EVERY_S = 0.5
EVENT_EVERY_S = 5.0


class JobMonitor:
    """Renews a job's lease while its counter moves, and raises when the job must stop.

    A step reads the job's status by fence, at most every 100 ms; progress is written, and the lease
    renewed, at most every half second. A worker that hangs between two steps renews nothing.
    """

    def __init__(self, platform: Platform, job: Job, *, stopping: Callable[[], bool]) -> None:
        self._platform = platform
        self._job = job
        self.stopping = stopping
        self._phase = ""
        self._phase_began = self._entered = 0.0
        self._first_step = self._step = 0
        self._read = 0.0  # the status
        self._written = 0.0  # progress, and the lease with it
        self._renewed = 0.0  # the lease, with or without progress
        self._told = 0.0
        self._kept = time.monotonic()
        self._span: Span = Untraced()

    def advance(
        self, phase: str, step: int, total: int, terms: Mapping[str, float] | None = None
    ) -> None:
        """Report progress. Raises LeaseLost, CancelRequested or StopRequested."""
        now = time.monotonic()
        entered = phase != self._phase
        ended = step >= total and (entered or step != self._step)  # reported only once
        before = (self._phase, now - self._entered)
        if entered:
            self._entered = now
            self._span.end()
            self._span = self._platform.tracer.begin(phase)
        if entered or step < self._step:  # a phase begins again for every version that is asked
            self._phase, self._phase_began, self._first_step = phase, now, step
        self._step = step
        due = entered or ended or now - self._written >= WRITE_EVERY_S
        if due or now - self._read >= READ_EVERY_S:
            self._read = now
            progress = Progress(
                step=step, total=total, eta_s=self._eta(step, total, now), terms=terms or {}
            )
            with self._platform.transactions(read_only=not due) as work:
                if due:
                    status = work[Jobs].advance(
                        self._job.id,
                        self._job.fence,
                        lease_s=self._platform.settings.lease_seconds,
                        phase=phase,
                        progress=progress,
                    )
                    self._written = self._renewed = now
                    if entered or ended or now - self._told >= EVENT_EVERY_S:
                        self._tell(work, entered, progress, now)
                    if entered:
                        self._count(work, *before)
                    work.commit()
                else:
                    status = work[Jobs].status(self._job.id, self._job.fence)
            if status is JobStatus.CANCELLING:
                raise CancelRequested
        # While training, a stop waits for the checkpoint that `checkpoint_due` asks for.
        if self.stopping() and phase != "training":
            raise StopRequested

    def moved(self, count: int) -> None:  # noqa: ARG002  (any byte is progress)
        """Renew the lease, at most every half second, because bytes of an artifact move.

        May be called from any thread. Raises LeaseLost, or CancelRequested, because the rest is
        not needed. A stop waits for what is being written.
        """
        now = time.monotonic()
        if now - self._renewed < WRITE_EVERY_S:
            return
        self._renewed = now  # two threads that come here at once renew twice: no harm
        with self._platform.transactions() as work:
            lease_s = self._platform.settings.lease_seconds
            status = work[Jobs].renew(self._job.id, self._job.fence, lease_s)
            work.commit()
        if status is JobStatus.CANCELLING:
            raise CancelRequested

    def checkpoint_due(self) -> bool:
        """Return whether the checkpoint interval has passed or the worker is about to stop."""
        interval = self._platform.settings.checkpoint_seconds
        return self.stopping() or time.monotonic() - self._kept >= interval

    def save_checkpoint(self, digest: Digest, step: int) -> None:
        """Record a stored checkpoint as the one to resume from.

        Raises LeaseLost, and StopRequested when the worker is shutting down.
        """
        with self._platform.transactions() as work:
            work[Jobs].set_checkpoint(self._job.id, self._job.fence, digest)
            work[Jobs].add_event(
                self._job.id, EventKind.CHECKPOINT, {"step": step}, self._platform.clock()
            )
            work.commit()
        self._checkpoint_is_past()

    def skip_checkpoint(self, step: int, facts: Json) -> None:
        """Record that no space was left for a checkpoint. Raises LeaseLost or StopRequested."""
        self.emit(EventKind.CHECKPOINT_SKIPPED, {"step": step, **facts})
        self._checkpoint_is_past()

    def _checkpoint_is_past(self) -> None:
        self._kept = time.monotonic()
        if self.stopping():
            raise StopRequested

    def emit(self, kind: EventKind, data: Json) -> None:
        """Add an event to the job's history. Raises LeaseLost."""
        log.warning("job event: %s", kind, extra=dict(data))
        with self._platform.transactions() as work:
            work[Jobs].status(self._job.id, self._job.fence)
            work[Jobs].add_event(self._job.id, kind, data, self._platform.clock())
            work.commit()

    def end_span(self) -> None:
        """End the span of the last phase."""
        self._span.end()

    def end(self) -> None:
        """Count the last phase too, if the database is there: the job has ended or was released."""
        with suppress(DatabaseUnavailable), self._platform.transactions() as work:
            self._count(work, self._phase, time.monotonic() - self._entered)
            work.commit()

    def _count(self, work: Work, phase: str, seconds: float) -> None:
        if phase:
            work[Counters].add_phase({"type": self._job.type.value, "phase": phase}, seconds)

    def _eta(self, step: int, total: int, now: float) -> float | None:
        done = step - self._first_step
        if done <= 0 or step >= total:
            return None
        return round((now - self._phase_began) / done * (total - step), 1)

    def _tell(self, work: Work, entered: bool, progress: Progress, now: float) -> None:
        """Add an event of a phase that begins, or of progress within it."""
        self._told = now
        data = {"phase": self._phase, "step": progress.step, "total": progress.total}
        kind = EventKind.PHASE if entered else EventKind.PROGRESS
        work[Jobs].add_event(self._job.id, kind, {**data, **progress.terms}, self._platform.clock())


# Jobs that cannot continue, and return to the queue.

RETRY_S = 1.0  # between attempts to record a pause in a database that is itself full


def release(platform: Platform, job: Job, *, lost: bool = False) -> None:
    """Return the job to the queue; while the database is unavailable, its lease expires instead."""
    try:
        with platform.transactions() as work:
            work[Jobs].release(job.id, job.fence, lost=lost)
            work[Jobs].add_event(job.id, EventKind.RELEASED, {}, platform.clock())
            work.commit()
    except LeaseLost:
        log.warning("lost the lease: the job was not returned to the queue")


def pause(
    platform: Platform, job: Job, fault: StorageFull, *, stopping: Callable[[], bool]
) -> None:
    """Return the job, with its checkpoint, to the queue until there may be storage space again.

    The event records how much space is missing. If the database is full too, this is tried again
    until it succeeds, the lease is lost or the worker is stopping.
    """
    while True:
        try:
            _pause(platform, job, fault)
        except LeaseLost:
            log.warning("lost the lease: the job was not paused")
        except StorageFull:
            if not stopping():
                time.sleep(RETRY_S)
                continue
            log.warning("the database has no space left; the job's lease will expire instead")
        return


def _pause(platform: Platform, job: Job, fault: StorageFull) -> None:
    with platform.transactions() as work:
        seconds = work[Jobs].get(job.id).pause_s
        work[Jobs].pause(job.id, job.fence, phase=fault.code, pause_s=seconds)
        facts = {"reason": fault.code, **room_of(fault), "retry_after_s": seconds}
        work[Jobs].add_event(job.id, EventKind.PAUSED, facts, platform.clock())
        work.commit()


def room_of(fault: StorageFull) -> dict[str, int]:
    """Return the bytes needed, free and missing, as far as the error states them."""
    told = {
        name: value
        for name in ("needed_bytes", "free_bytes")
        if isinstance(value := fault.facts.get(name), int)
    }
    if len(told) == 2:
        told["missing_bytes"] = max(0, told["needed_bytes"] - told["free_bytes"])
    return told
