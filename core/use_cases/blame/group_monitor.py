"""The monitor of a blame's trainings, which stores the state that the job resumes from."""

from collections.abc import Mapping
from dataclasses import replace

from core.domain.jobs.event import EventKind
from core.domain.jobs.job import Job
from core.domain.values import Digest, Json, canonical_json
from core.errors import StopRequested
from core.ports import Monitor, Platform
from core.use_cases.blame.finished_groups import FinishedGroup, FinishedGroups


class GroupMonitor:
    """The monitor of the training without each group, in turn: a `Monitor` for the trainer.

    It stores the state that the job resumes from: the finished groups and the trainer's checkpoint
    of the one in training. Each state replaces the one before.
    """

    def __init__(
        self, platform: Platform, job: Job, monitor: Monitor, finished: FinishedGroups, total: int
    ) -> None:
        self.finished = finished
        self._platform = platform
        self._job = job
        self._monitor = monitor
        self._total = total
        self._kept = job.checkpoint

    def advance(
        self, phase: str, step: int, total: int, terms: Mapping[str, float] | None = None
    ) -> None:
        """Report progress, with the number of the group and of all."""
        number = {"group": len(self.finished.groups) + 1, "groups": self._total}
        self._monitor.advance(phase, step, total, {**(terms or {}), **number})

    def moved(self, count: int) -> None:
        """Report bytes in transfer."""
        self._monitor.moved(count)

    def checkpoint_due(self) -> bool:
        """Return whether the trainer is to make a checkpoint."""
        return self._monitor.checkpoint_due()

    def skip_checkpoint(self, step: int, facts: Json) -> None:
        """Report that the store had no room for a checkpoint."""
        self._monitor.skip_checkpoint(step, facts)

    def emit(self, kind: EventKind, data: Json) -> None:
        """Add an event to the job's history."""
        self._monitor.emit(kind, data)

    def save_checkpoint(self, digest: Digest, step: int) -> None:
        """Record the trainer's checkpoint beside the finished groups."""
        finished = replace(self.finished, training=digest)
        stored = self._store(finished)
        try:
            self._monitor.save_checkpoint(stored, step)
        except StopRequested:  # raised after the checkpoint was recorded
            self._replace(stored, finished)
            raise
        self._replace(stored, finished)

    def finish(self, group: FinishedGroup, images: int) -> None:
        """Record a finished group and an event of it. Raises LeaseLost."""
        trained = self.finished.training
        finished = replace(self.finished, groups=(*self.finished.groups, group), training=None)
        stored, job = self._store(finished), self._job
        number = len(finished.groups)
        with self._platform.transactions() as work:
            work.jobs.set_checkpoint(job.id, job.fence, stored)
            work.jobs.add_event(
                job.id,
                EventKind.LEFT_OUT,
                {"group": number, "groups": self._total, "images": images},
                self._platform.clock(),
            )
            work.commit()
        self._replace(stored, finished)
        if trained is not None:
            self._platform.artifacts.delete(trained)

    def clear(self) -> None:
        """Delete the state that the job would have resumed from, once it has ended."""
        if self._kept is not None:
            self._platform.artifacts.delete(self._kept)

    def _store(self, finished: FinishedGroups) -> Digest:
        # Jobs with equal plans finish equal groups: each has an artifact that it may delete.
        own = {"job": self._job.id, "fence": self._job.fence}
        return self._platform.artifacts.put(canonical_json(finished.to_json() | own))

    def _replace(self, stored: Digest, finished: FinishedGroups) -> None:
        if self._kept not in {None, stored}:
            self._platform.artifacts.delete(self._kept)
        self._kept, self.finished = stored, finished
