"""What clients ask for: jobs, again and again, and that they be cancelled."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from core.bases.create_model import create_model
from core.blame.order import order_blame
from core.datasets.image_lists import Grouping
from core.erasure.rows import Erasures
from core.errors import (
    AnswersMissing,
    ArtifactGone,
    ErasureCommitted,
    FieldInvalid,
    ImportFailed,
    JobFinished,
    VersionNotFound,
)
from core.evaluation.order import order_evaluation
from core.exports.make import order_export
from core.job_types.retry import retry_job
from core.jobs.orders import BlameOrder, ConvertOrder, ExportOrder, JobType, UpdateOrder
from core.jobs.queue import JobRequest, cancel_job
from core.jobs.rules import Job, JobStatus
from core.recipes.rules import Recipe
from core.registry.exports import ExportFormat
from core.registry.versions import ServingPrecision
from core.training.convert import order_conversion
from core.training.order import order_update
from core.values import sha256
from core.vectors.reembed import order_reembedding
from tests.nightly.machine.machine import WHICH, Machine, pick
from tests.nightly.machine.promises import REFUSALS
from tests.nightly.machine.world import ALIAS, ALIASES, POLICY, SUITE
from tests.support.factories import TESTER
from tests.support.notifiers import SilentNotifier

DEATHS = st.sampled_from([None, None, "order.before", "order.after"])

MODELS, WAITING, RECENT = 2, 6, 8

NEWEST = -1  # of those that there are

# What cannot start, for want of something.
UNSTARTABLE = (AnswersMissing, ArtifactGone, FieldInvalid, ImportFailed, VersionNotFound)

SILENCE = SilentNotifier()

Place = Callable[[JobRequest], Job]


@dataclass(frozen=True, kw_only=True)
class Update:
    """What is drawn of an update."""

    model: int = 0
    early: bool = False  # perhaps of a model that has no root yet
    lesson: int
    seed: int
    auto: bool = True
    parent: int | None = None
    priority: int = 0


UPDATES = st.builds(
    Update,
    model=WHICH,
    early=st.sampled_from([False, False, True]),
    lesson=WHICH,
    seed=st.integers(0, 3),  # few, so that the same update comes again
    auto=st.booleans(),
    parent=st.none() | st.just(NEWEST) | WHICH,
    priority=st.integers(0, 9),
)


def may_order(machine: Any) -> bool:
    return len(machine.unfinished()) < WAITING


class Clients(Machine):
    """The API may die at each order, and its client then asks again with the same key."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[JobRequest, Place, Job, int]] = []  # and on which day

    def order_update(self, update: Update, death: str | None) -> None:
        """Order an update of what is live, of a version by its number, or before there is any."""
        models = [m for m in self.world.models() if update.early or self.world.versions(m)]
        model = pick(models, update.model)
        versions = self.world.versions(model)
        data = pick(self.world.lessons, update.lesson)
        by_number = versions and update.parent is not None
        order = UpdateOrder(
            dataset=data.dataset,
            dataset_version=data.number,
            recipe=Recipe(seed=update.seed),
            auto_promote=update.auto,
            parent=pick(versions, update.parent or 0).number if by_number else None,
        )
        place = self.placing(order_update, model=model.name, order=order, priority=update.priority)
        self.order(place, death)

    @precondition(lambda self: may_order(self) and self.promises.versions)
    @rule(
        which=WHICH,
        precision=st.sampled_from(ServingPrecision),
        live=st.booleans(),
        auto=st.booleans(),
        death=DEATHS,
    )
    def convert(
        self, which: int, precision: ServingPrecision, live: bool, auto: bool, death: str | None
    ) -> None:
        """Have a version, or what will be live then, made in a precision that it may have."""
        model, version = pick(self.promises.versions, which)
        order = ConvertOrder(
            precision=precision, parent=None if live else version.number, auto_promote=auto
        )
        self.order(self.placing(order_conversion, model=model.name, order=order), death)

    @precondition(lambda self: may_order(self) and self.trained())
    @rule(which=WHICH, blame=st.booleans(), alias=st.sampled_from(ALIASES), death=DEATHS)
    def question(self, which: int, blame: bool, death: str | None, alias: str = ALIAS) -> None:
        """Have an update judged again, or trained again without each half of its images."""
        model, version = pick(self.trained(), which)
        if not blame:
            there, _ = self.world.alias(model, alias)
            verb = order_evaluation
            named = {"version": version.number, "alias": alias if there else ALIAS}
        else:
            order = BlameOrder(
                version=version.number,
                class_name=version.update_classes[0],
                by=Grouping.RANDOM,
                groups=2,
            )
            verb, named = order_blame, {"order": order}
        self.order(self.placing(verb, model=model.name, **named), death)

    @precondition(lambda self: may_order(self) and self.promises.versions)
    @rule(which=WHICH, lesson=WHICH, export=st.booleans(), death=DEATHS)
    def use(self, which: int, lesson: int, export: bool, death: str | None) -> None:
        """Have a version written for other software, or the vectors of a dataset version stored."""
        model, version = pick(self.promises.versions, which)
        if export:
            order = ExportOrder(version=version.number, format=ExportFormat.ONNX)
            verb, named = order_export, {"order": order}
        else:
            data = pick(self.world.lessons, lesson)
            dataset = {"dataset": data.dataset, "dataset_version": data.number}
            verb, named = order_reembedding, {"version": version.number, **dataset}
        self.order(self.placing(verb, model=model.name, **named), death)

    @precondition(lambda self: may_order(self) and len(self.world.models()) < MODELS)
    @rule(death=DEATHS)
    def create_model(self, death: str | None) -> None:
        name = f"m{len(self.world.models())}"
        place = self.placing(
            create_model, name=name, base="bundled", suites=(SUITE,), policy=POLICY
        )
        self.order(place, death)

    @precondition(lambda self: may_order(self) and self.to_retry())
    @rule(which=WHICH, death=DEATHS)
    def retry(self, which: int, death: str | None) -> None:
        """Order again what has failed or was cancelled."""
        job = pick(self.to_retry(), which)
        self.order(lambda request: retry_job(self.world.platform, SILENCE, request, job.id), death)

    @precondition(lambda self: self.asked)
    @rule(which=WHICH)
    def ask_again(self, which: int) -> None:
        """A request that is repeated within a day is answered with the job it made."""
        request, place, job, day = self.asked.pop(which % len(self.asked))
        if self.world.day > day:
            return
        before = len(self.world.jobs())
        assert place(request).id == job.id
        assert len(self.world.jobs()) == before
        self.happened["request repeated"] += 1

    @precondition(lambda self: self.promises.jobs)
    @rule(which=WHICH)
    def cancel(self, which: int) -> None:
        """Cancel a job, ended or not."""
        job = pick(list(self.promises.jobs.values())[-RECENT:], which)
        may = job.status in {JobStatus.QUEUED, JobStatus.RUNNING}
        try:
            cancelled = cancel_job(self.world.platform, job.id)
        except JobFinished:
            assert not may
        except ErasureCommitted:
            with self.world.reading() as work:
                assert may
                assert work[Erasures].get(job.order.erasure).erased_at is not None
        else:
            assert may
            self.promises.cancelled.add(job.id)
            self.happened[f"told that a job is {cancelled.status.value}"] += 1

    def to_retry(self) -> list[Job]:
        """Jobs that have ended otherwise than wanted; of imports, while there is no root."""
        again = {JobStatus.FAILED, JobStatus.CANCELLED}
        rooted = {model.id for model, _ in self.promises.versions}
        return [
            job
            for job in self.promises.jobs.values()
            if job.status in again and not (job.type is JobType.IMPORT and job.model in rooted)
        ]

    def placing(self, verb: Callable[..., Job], *, priority: int = 0, **named: Any) -> Place:
        """A verb that orders a job, with all but the request."""
        platform = self.world.platform
        return lambda request: verb(platform, SILENCE, replace(request, priority=priority), **named)

    def order(self, place: Place, death: str | None) -> Job | None:
        """Ask until there is an answer: one job, or None for want of what it needs."""
        number = sum(self.happened.values())
        request = JobRequest(principal=TESTER, key=f"key {number}", body=sha256(b"the same"))
        before = len(self.world.jobs())
        try:
            job = self.call(lambda: place(request), death)
            if job is None:
                assert len(self.world.jobs()) - before == (death == "order.after")
                job = place(request)
        except (*UNSTARTABLE, *REFUSALS) as refusal:
            assert len(self.world.jobs()) == before
            self.promises.erased.allow(refusal.code)
            self.happened[f"order refused: {refusal.code}"] += 1
            return None
        assert len(self.world.jobs()) == before + 1
        self.promises.acknowledged.add(job.id)
        self.asked.append((request, place, job, self.world.day))
        self.happened["job acknowledged"] += 1
        return job
