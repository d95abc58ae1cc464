"""Train an update again without each group of its images, and report what that changes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from core.artifacts.store import Artifacts
from core.blame.order import keep_versions
from core.blame.plan import BlamePlan, plan_blame
from core.blame.rules import ClassBlame, GroupChange, blame_groups
from core.database.work import Work
from core.datasets.rows import ErasedImages
from core.datasets.version_rows import Suites
from core.errors import ArtifactMissing, BlameNotFound, ImageErased, StopRequested
from core.evaluation.answers import ClassAnswers
from core.evaluation.evaluate import Evaluator
from core.evaluation.read_plan import pinned_model
from core.jobs.orders import BlameOrder, JobType
from core.jobs.rows import Jobs
from core.jobs.rules import EventKind, Job, Monitor
from core.platform import Platform
from core.registry.read import read_json
from core.registry.verdict_rows import Tries
from core.registry.version_rows import Versions
from core.training.trainer import Trainer
from core.training.update_model import spec_of, warn_if_slow
from core.values import Digest, JobId, Json, canonical_json, from_plain


def blame_images(
    platform: Platform,
    trainer: Trainer,
    evaluator: Evaluator,
    job: Job,
    order: BlameOrder,
    monitor: Monitor,
) -> None:
    """Find the images that cost a class its accuracy; a resumed job trains no group again.

    Nothing is promoted, and what is trained becomes no version: no row needs its weights, so that
    garbage collection deletes them. But whoever then orders the update without a group chooses it
    among all: each is stored as a try on the suites that were asked. Raises what `plan_blame`,
    `spec_of` and the trainer raise, and ImageErased or LearnedErasedImages when something that it
    needs was erased meanwhile.
    """
    plan = _pin(platform, trainer, job, order, monitor)
    finished = read_finished(platform.artifacts, job.checkpoint, plan.digest)
    by_group = GroupMonitor(platform, job, monitor, finished, len(plan.groups))
    try:
        for group in plan.groups[len(finished.groups) :]:
            spec = spec_of(platform, plan.inputs, without=group.pixels)
            resume = by_group.finished.training
            trained = trainer.train(spec, resume=resume, monitor=by_group)
            answers = evaluator.answer(trained.weights.digest, plan.queries, by_group)
            found = FinishedGroup(
                digest=trained.weights.digest,
                environments=trained.environments,
                answers=tuple(
                    ClassAnswers(predicted=one.predicted)  # its probabilities decide nothing
                    for one in answers
                    if isinstance(one, ClassAnswers)
                ),
            )
            by_group.finish(found, len(group.entries))
    except ArtifactMissing:
        with platform.transactions(read_only=True) as work:
            _require_unerased(work, plan)
        raise
    report = blame_report(plan, order, by_group.finished.groups)
    stored = platform.artifacts.put(canonical_json(report))
    result = {
        "version": order.version,
        "report": stored,
        "groups": len(plan.groups),
        "blamed": [
            {"class": one["class"], "group": one["groups"][0]["group"]}
            for one in report["classes"]
            if one["groups"][0]["clear"]
        ],
    }
    with platform.transactions() as work:
        _require_unerased(work, plan)
        work[Tries].add(
            plan.inputs.line,
            [one.digest for one in by_group.finished.groups],
            [work[Suites].get(name).id for name in {*plan.asked} if " " not in name],  # no holdouts
            platform.clock(),
        )
        work[Jobs].finish(job.succeed(result, platform.clock()), job.fence)
        work.commit()
    by_group.clear()


def _pin(
    platform: Platform, trainer: Trainer, job: Job, order: BlameOrder, monitor: Monitor
) -> BlamePlan:
    with platform.transactions() as work:
        model = pinned_model(work, job.id)
        parent = keep_versions(work, model, order)
        work[Jobs].set_parent(job.id, job.fence, parent.number)
        work.commit()
    plan = plan_blame(platform, model, order)
    warn_if_slow(plan.inputs.order.recipe.precision, trainer.native_precisions(), monitor)
    return plan


def _require_unerased(work: Work, plan: BlamePlan) -> None:
    """Raise unless all images are still there that the report depends on."""
    work[Versions].get(plan.model.id, plan.version.number).require_clean()
    tested = {entry.pixels for query in plan.queries for entry in query.entries}
    if erased := work[ErasedImages].erased(tested):
        raise ImageErased(
            "A test image was erased while versions were asked about it: order the blame again.",
            pixels=sorted(erased)[:20],
        )


# The state that a job resumes from: the finished groups, as an artifact.


@dataclass(frozen=True, kw_only=True)
class FinishedGroup:
    """The answers of a version without a group, and the version's digest."""

    digest: Digest
    environments: tuple[Mapping[str, str], ...]
    answers: tuple[ClassAnswers, ...]  # to the plan's queries


@dataclass(frozen=True, kw_only=True)
class FinishedGroups:
    """The groups that are finished, in order, and the trainer's checkpoint of the next one."""

    plan: Digest
    groups: tuple[FinishedGroup, ...] = ()
    training: Digest | None = None


def read_finished(artifacts: Artifacts, digest: Digest | None, plan: Digest) -> FinishedGroups:
    """Return what an earlier attempt has finished of a plan; nothing if that cannot be read."""
    stored = read_json(artifacts, digest)
    if stored is None or stored["plan"] != plan:
        return FinishedGroups(plan=plan)
    return from_plain(FinishedGroups, stored)


class GroupMonitor:
    """The monitor of the training without each group, in turn: a `Monitor` for the trainer.

    It stores the state that the job resumes from: the finished groups and the trainer's checkpoint
    of the one in training. Each state replaces the one before. All else is the job's monitor's.
    """

    def __init__(
        self, platform: Platform, job: Job, monitor: Monitor, finished: FinishedGroups, total: int
    ) -> None:
        self.finished = finished
        self.moved = monitor.moved
        self.checkpoint_due = monitor.checkpoint_due
        self.skip_checkpoint = monitor.skip_checkpoint
        self.emit = monitor.emit
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
            work[Jobs].set_checkpoint(job.id, job.fence, stored)
            work[Jobs].add_event(
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
        return self._platform.artifacts.put(canonical_json(asdict(finished) | own))

    def _replace(self, stored: Digest, finished: FinishedGroups) -> None:
        if self._kept not in {None, stored}:
            self._platform.artifacts.delete(self._kept)
        self._kept, self.finished = stored, finished


# The report: each group, and what each class gains or loses without it.


def blame_report(
    plan: BlamePlan, order: BlameOrder, finished: Sequence[FinishedGroup]
) -> dict[str, Any]:
    """Return the report as JSON: a function of the plan and the groups' answers."""
    without = [[*zip(plan.queries, one.answers, strict=True)] for one in finished]
    blames = [
        blame_groups(
            name,
            plan.groups,
            own=plan.own,
            without=without,
            alpha=plan.alpha,
            meanings=plan.meanings,
        )
        for name in plan.classes
    ]
    return {
        "model": plan.model.name,
        "version": plan.version.number,
        "digest": plan.version.digest,
        "parent": plan.parent.number,
        "by": order.by.value,
        "asked": list(plan.asked),
        "alpha": plan.alpha,
        "exact": is_exact(plan, finished),
        "groups": [
            {
                "group": number,
                "name": group.name,
                "images": len(group.entries),
                "classes": dict(group.counts),
                "pixels": list(group.pixels),
                "digest": one.digest,
            }
            for number, (group, one) in enumerate(zip(plan.groups, finished, strict=True), start=1)
        ],
        "classes": [_class(blame) for blame in blames],
    }


def is_exact(plan: BlamePlan, finished: Sequence[FinishedGroup]) -> bool:
    """Return whether all was trained in one environment, the version's own.

    Elsewhere, rounding alone makes a difference.
    """
    own = plan.version.environment
    return bool(plan.version.exact) and all(group.environments == (own,) for group in finished)


def read_blame(platform: Platform, job: JobId) -> Json:
    """Return the report of a job. Raises JobNotFound, BlameNotFound or ArtifactMissing."""
    with platform.transactions(read_only=True) as work:
        found = work[Jobs].get(job)
    if found.type is not JobType.BLAME or found.result is None:
        raise BlameNotFound
    report: Json = json.loads(platform.artifacts.get(found.result["report"]))
    return report


def flat_rows(report: Json) -> Iterator[dict[str, Any]]:
    """Yield a row for each class and group, for a table."""
    groups = {group["group"]: group for group in report["groups"]}
    for one in report["classes"]:
        for row in one["groups"]:
            group = groups[row["group"]]
            yield {"class": one["class"], **row, "images": group["images"], "tested": one["images"]}


def _class(blame: ClassBlame) -> dict[str, Any]:
    return {
        "class": blame.class_name,
        "images": blame.images,
        "right": blame.right,
        "summary": blame.summary,
        "groups": [_group(one) for one in blame.groups],
    }


def _group(one: GroupChange) -> dict[str, Any]:
    change = one.change
    return {
        "group": one.group,
        "name": one.name,
        "right_before": change.right_before,
        "right": change.right,
        "gained": change.gained,
        "lost": change.lost,
        "difference": change.difference,
        "lower": change.lower,
        "upper": change.upper,
        "clear": one.clear,
    }
