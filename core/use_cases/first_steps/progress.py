"""Read from the database which of the first steps are done."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.domain.jobs.job import Job
from core.domain.jobs.order import JobType
from core.domain.registry.alias import PRODUCTION, MoveKind
from core.domain.registry.version import Version
from core.errors import DatasetNotFound, ModelNotFound
from core.ports import Platform, UnitOfWork
from core.use_cases.first_steps.orders import EMOJI, IMPORTS, MODEL, PRODUCTS


class Step(StrEnum):
    """A step, in order."""

    SIGN_IN = "sign_in"
    IMAGES = "images"
    MODEL = "model"
    TEACH = "teach"
    READ = "read"
    PROMOTE = "promote"
    CLASSIFY = "classify"
    ROLL_BACK = "roll_back"


ORDER = tuple(Step)
UNRECORDED = {Step.READ, Step.CLASSIFY}  # no row tells of them: they are done with the next step


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The traces of the first steps in the database."""

    imports: Sequence[Job] = ()  # the last one of each dataset
    loaded: bool = False  # both datasets have images
    root: Version | None = None
    jobs: Sequence[Job] = ()  # the last import of the model and its last update
    taught: Version | None = None  # the newest version, once the gate has judged it
    live: int | None = None
    moved: Collection[MoveKind] = ()  # in each of these ways

    @property
    def done(self) -> frozenset[Step]:
        """The steps that are done: what a row tells of, and all before it."""
        facts = {
            Step.SIGN_IN: True,
            Step.IMAGES: self.loaded,
            Step.MODEL: self.root is not None and self.loaded,
            Step.TEACH: self.taught is not None,
            Step.PROMOTE: MoveKind.PROMOTED in self.moved,
            Step.ROLL_BACK: MoveKind.ROLLED_BACK in self.moved,
        }
        last = max(ORDER.index(step) for step, true in facts.items() if true)
        return frozenset(ORDER[: last + 1])

    @property
    def now(self) -> frozenset[Step]:
        """The steps that are next: one, or one without a row and the one after it."""
        rest = [step for step in ORDER if step not in self.done]
        return frozenset(rest[: 2 if rest and rest[0] in UNRECORDED else 1])

    @property
    def waits(self) -> bool:
        """True while a job of the present step has not ended."""
        return any(not job.status.done for job in (*self.imports, *self.jobs))

    def job_of(self, step: str) -> Job | None:
        """Return the job to show with a step: one that runs or has failed, or the last one."""
        types: Mapping[str, JobType] = {Step.MODEL: JobType.IMPORT, Step.TEACH: JobType.UPDATE}
        jobs = [job for job in self.jobs if job.type is types.get(step)]
        if step == Step.IMAGES:
            jobs = sorted(self.imports, key=lambda job: (job.status.done, job.result is not None))
        return jobs[0] if jobs else None


def read_progress(platform: Platform) -> Progress:
    """Return how far the first steps have come."""
    with platform.transactions(read_only=True) as work:
        imports = [job for name in (EMOJI, PRODUCTS) for job in _imports(work, name)]
        loaded = all(_has_images(work, name) for name in (EMOJI, PRODUCTS))
        try:
            model = work.models.get(MODEL)
        except ModelNotFound:
            return Progress(imports=imports, loaded=loaded)
        newest = work.versions.newest(model.id)
        live = work.aliases.find(model.id, PRODUCTION)
        jobs = [
            named.job
            for kind in (JobType.IMPORT, JobType.UPDATE)
            for named in work.jobs.named_page(1, None, model=model.id, job_type=kind)
        ]
        return Progress(
            imports=imports,
            loaded=loaded,
            root=work.versions.get(model.id, 1) if newest else None,
            jobs=jobs,
            taught=newest if newest and newest.verdict else None,
            live=live.version if live else None,
            moved=work.aliases.kinds_of_moves(model.id, PRODUCTION),
        )


def _imports(work: UnitOfWork, name: str) -> list[Job]:
    found = work.jobs.named_page(1, None, metadata=(IMPORTS, name))
    return [named.job for named in found]


def _has_images(work: UnitOfWork, name: str) -> bool:
    try:
        return bool(work.datasets.count(work.datasets.get(name).id))
    except DatasetNotFound:
        return False
