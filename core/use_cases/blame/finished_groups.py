"""The groups that a blame has finished, as an artifact: what it resumes from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from core.domain.evaluation.query import ClassAnswers
from core.domain.jobs.event import EventKind
from core.domain.jobs.job import Job
from core.domain.values import Digest, Json, canonical_json
from core.errors import ArtifactCorrupt, ArtifactMissing, StopRequested
from core.ports import Artifacts, Monitor, Platform


@dataclass(frozen=True, kw_only=True)
class FinishedGroup:
    """What a version without a group answered, and the version's digest."""

    digest: Digest
    environments: tuple[Mapping[str, str], ...]
    answers: tuple[ClassAnswers, ...]  # to the plan's queries


@dataclass(frozen=True, kw_only=True)
class FinishedGroups:
    """The groups that are finished, in order, and the trainer's checkpoint of the next one."""

    plan: Digest
    groups: tuple[FinishedGroup, ...] = ()
    training: Digest | None = None

    def to_json(self) -> dict[str, Any]:
        """Return them as plain JSON."""
        return {
            "plan": self.plan,
            "training": self.training,
            "groups": [
                {
                    "digest": group.digest,
                    "environments": [dict(one) for one in group.environments],
                    "answers": [list(one.predicted) for one in group.answers],
                }
                for group in self.groups
            ],
        }

    @classmethod
    def from_json(cls, value: Json) -> "FinishedGroups":
        """Return those that `to_json` wrote."""
        return cls(
            plan=value["plan"],
            training=value["training"],
            groups=tuple(
                FinishedGroup(
                    digest=group["digest"],
                    environments=tuple(group["environments"]),
                    answers=tuple(
                        ClassAnswers(predicted=tuple(predicted)) for predicted in group["answers"]
                    ),
                )
                for group in value["groups"]
            ),
        )


def read_finished(artifacts: Artifacts, digest: Digest | None, plan: Digest) -> FinishedGroups:
    """Return what an earlier attempt has finished of a plan; nothing if that cannot be read."""
    if digest is not None:
        try:
            found = FinishedGroups.from_json(json.loads(artifacts.get(digest)))
        except (ArtifactMissing, ArtifactCorrupt):
            pass
        else:
            if found.plan == plan:
                return found
    return FinishedGroups(plan=plan)


class GroupMonitor:
    """The monitor of the training without each group, in turn: a `Monitor` for the trainer.

    It keeps what the job resumes from: the finished groups and, from the trainer, the checkpoint of
    the one in training. Each state that it stores replaces the one before.
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
        """Delete what the job would have resumed from, once it has ended."""
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
