"""What the rules need from outside, as protocols."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from core.domain.dataset import Dataset, DatasetImage, DatasetVersion, Manifest, ManifestEntry
from core.domain.gate import GatePolicy
from core.domain.prompt import PromptTemplate
from core.domain.question import Answers, ClassQuestion, Question
from core.domain.recipe import Recipe
from core.domain.registry import Alias, AliasMove
from core.domain.suite import Suite
from core.domain.tally import Tally
from core.domain.update import Job, JobEvent, JobStatus, JobType, Progress, Queue
from core.domain.values import DatasetId, Digest, JobId, Json, ModelId, PolicyId, SuiteId
from core.domain.version import Model, Version, Weights
from core.settings import Settings

Clock = Callable[[], datetime]  # aware, UTC


# ---- Bytes ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class StoredArtifact:
    """What a store says of one artifact without reading it."""

    digest: Digest
    size: int  # bytes
    age_s: float  # since its last `put`, by the store's clock


class Artifacts(Protocol):
    """Bytes by their SHA-256. Writing the same bytes twice stores them once."""

    def put(self, data: bytes | memoryview) -> Digest:
        """Store durably and return the digest; what is there already is young again.

        Nobody may change a view's bytes meanwhile. Raises StorageFull, leaving nothing behind, or
        ArtifactsUnavailable.
        """

    def get(self, digest: Digest) -> bytes:
        """The bytes, verified. Raises ArtifactMissing, ArtifactCorrupt or ArtifactsUnavailable."""

    def has(self, digest: Digest) -> bool:
        """Whether the bytes are there (not verified)."""

    def delete(self, digest: Digest) -> None:
        """Forget the bytes; no error when they are not there."""

    def collect(self, digest: Digest, older_than_s: float) -> bool:
        """Forget the bytes unless somebody has put them since; whether they were forgotten.

        A `put` that runs meanwhile wins: once it has returned, the bytes are there.
        """

    def digests(self) -> Iterator[Digest]:
        """All digests in the store, in no order."""

    def stored(self) -> Iterator[StoredArtifact]:
        """All artifacts in the store, in no order."""

    def sweep(self, older_than_s: float) -> int:
        """Remove temporaries that a dead writer left; how many."""

    def free_bytes(self) -> int:
        """Room left."""


# ---- Rows -----------------------------------------------------------------------------------


class Datasets(Protocol):
    def add(self, dataset: Dataset) -> None:
        """Raises NameTaken."""

    def get(self, reference: str) -> Dataset:
        """By id or name. Raises DatasetNotFound."""

    def page(self, limit: int, after: str | None) -> Sequence[Dataset]: ...

    def add_image(self, row: DatasetImage) -> None:
        """Add an image with one text. The same image with the same text is no error."""

    def texts(self, dataset: DatasetId, pixels: Digest) -> Sequence[str]:
        """The texts this image already has in the dataset; empty when it is not there."""

    def images(self, dataset: DatasetId) -> Sequence[DatasetImage]: ...

    def image_page(
        self, dataset: DatasetId, limit: int, after: Digest | None
    ) -> Sequence[DatasetImage]: ...

    def count(self, dataset: DatasetId) -> Mapping[str, int]:
        """Images per text (for captioned datasets: {"": images})."""

    def remove_image(self, dataset: DatasetId, pixels: Digest) -> None:
        """Takes turns with `next_version`. Raises ImageNotFound."""

    def remove(self, dataset: DatasetId) -> None:
        """Raises InUse when it has versions."""

    def next_version(self, dataset: DatasetId) -> int:
        """The next version number, from a counter row locked until commit."""

    def add_version(self, version: DatasetVersion, manifest: Manifest) -> None: ...

    def version(self, dataset: DatasetId, number: int) -> DatasetVersion:
        """Raises DatasetVersionNotFound."""

    def versions(self, dataset: DatasetId) -> Sequence[DatasetVersion]: ...

    def trained_pixels(self, pixels: Collection[Digest], *, except_for: DatasetId) -> set[Digest]:
        """Those of the images that are on the training side of another dataset's versions.

        Or of this one's, once an update has learned from it or is going to; distilling its
        images as a reference set counts as learning.
        """


class Suites(Protocol):
    def add(self, suite: Suite, manifest: Manifest, dhashes: Collection[str]) -> None:
        """Raises NameTaken."""

    def get(self, reference: str) -> Suite:
        """By id or name. Raises SuiteNotFound."""

    def page(self, limit: int, after: str | None) -> Sequence[Suite]: ...

    def contains(self, pixels: Collection[Digest]) -> set[Digest]:
        """Those of the images that any suite holds."""

    def near(self, dhashes: Collection[str]) -> set[str]:
        """Those of the difference hashes that an image of any suite has."""


class Policies(Protocol):
    def add(self, policy: GatePolicy) -> None:
        """Raises NameTaken."""

    def get(self, reference: str) -> GatePolicy:
        """By id or name. Raises PolicyNotFound."""

    def page(self, limit: int, after: str | None) -> Sequence[GatePolicy]: ...


class Models(Protocol):
    def add(self, model: Model) -> None:
        """Raises NameTaken."""

    def get(self, reference: str) -> Model:
        """By id or name. Raises ModelNotFound."""

    def page(self, limit: int, after: str | None) -> Sequence[Model]: ...

    def set_suites(self, model: ModelId, suites: Sequence[SuiteId]) -> None: ...

    def set_policy(self, model: ModelId, policy: PolicyId) -> None: ...


class Versions(Protocol):
    def next_number(self, model: ModelId) -> int:
        """The next version number, from a counter row locked until commit."""

    def add(self, version: Version) -> None: ...

    def save(self, version: Version) -> None:
        """Store status, verdict and report of an existing version."""

    def give_up_weights(self, model: ModelId, number: int, at: datetime) -> None:
        """Note that a version's weights may be collected from now on."""

    def get(self, model: ModelId, number: int, *, lock: bool = False) -> Version:
        """A version; with `lock` nobody else changes it before commit. Raises VersionNotFound."""

    def by_digest(self, model: ModelId, digest: Digest) -> Version:
        """The newest version with this digest. Raises VersionNotFound."""

    def page(self, model: ModelId, limit: int, after: int | None) -> Sequence[Version]:
        """Oldest first."""

    def all(self, model: ModelId) -> Sequence[Version]: ...


class Aliases(Protocol):
    def get(self, model: ModelId, name: str) -> Alias:
        """Raises AliasNotFound."""

    def find(self, model: ModelId, name: str) -> Alias | None: ...

    def all(self, model: ModelId | None = None) -> Sequence[Alias]:
        """All aliases of a model, or of every model."""

    def move(self, alias: Alias, row: AliasMove) -> None:
        """Write alias and history row if the stored revision is `alias.revision - 1`.

        Raises StaleRevision otherwise.
        """

    def history(self, model: ModelId, name: str) -> Sequence[AliasMove]:
        """Oldest first."""


@dataclass(frozen=True, kw_only=True)
class HeldJob:
    """A job that a process has claimed, as its supervisor sees it."""

    id: JobId
    status: JobStatus
    lease_s: float  # seconds left, by the database's clock; negative once it has run out


class Jobs(Protocol):
    def add(self, job: Job) -> None: ...

    def get(self, job: JobId, *, lock: bool = False) -> Job:
        """A job; with `lock` nobody else changes it before commit. Raises JobNotFound."""

    def page(
        self,
        limit: int,
        after: JobId | None,
        *,
        model: ModelId | None = None,
        job_type: JobType | None = None,
        status: JobStatus | None = None,
    ) -> Sequence[Job]:
        """Newest first; `after` is the last id of the page before."""

    def claim(
        self, owner: str, lease_s: float, lost_limit: int, queues: Collection[Queue] = tuple(Queue)
    ) -> Job | None:
        """Claim the next claimable job by one conditional update; None when there is none.

        Claimable: in one of the queues; queued, or running/cancelling with an expired lease (by
        the database's clock); and no earlier unfinished job of the same model. The highest
        priority is next, and the oldest of those that have it. The claim sets the status
        (queued becomes running), owner, lease, fence + 1, attempt + 1 and, after an expired
        lease, lost + 1. A job that is lost for the `lost_limit`-th time fails with
        `worker_lost` instead, or is cancelled if that was asked for, and the next one is tried.
        """

    def claimable(self, queues: Collection[Queue] = tuple(Queue)) -> set[Queue]:
        """In which of the queues `claim` would find something now (cheap; for the doorbell)."""

    def advance(
        self, job: JobId, fence: int, *, lease_s: float, phase: str, progress: Progress
    ) -> JobStatus:
        """Write progress and renew the lease, by fence; the job's status. Raises LeaseLost."""

    def status(self, job: JobId, fence: int) -> JobStatus:
        """The status, if the fence still holds. Raises LeaseLost."""

    def set_parent(self, job: JobId, fence: int, parent: int) -> None:
        """Raises LeaseLost."""

    def pin_suites(self, job: JobId, fence: int, suites: Sequence[SuiteId]) -> None:
        """Fix the suites whose names and validation parts training sees. Raises LeaseLost."""

    def set_checkpoint(self, job: JobId, fence: int, checkpoint: Digest) -> None:
        """Record the checkpoint that counts, and set lost to 0. Raises LeaseLost."""

    def set_version(self, job: JobId, fence: int, version: int) -> None:
        """Record the candidate the job has published, drop its checkpoint. Raises LeaseLost."""

    def finish(self, job: Job, fence: int) -> None:
        """Write the final state, by fence.

        Raises LeaseLost, and CancelRequested rather than let a job succeed that is being
        cancelled.
        """

    def cancel(self, job: Job, seen: JobStatus) -> None:
        """Write a cancelled or cancelling job, if its status is still `seen`.

        Raises JobFinished otherwise.
        """

    def release(self, job: JobId, fence: int, *, lost: bool = False) -> None:
        """Give a running job back to the queue, counting it as lost or not.

        One that is being cancelled keeps that status. Raises LeaseLost.
        """

    def release_owner(self, owner_prefix: str) -> int:
        """Expire the leases of a process that is known to be dead; how many.

        Owners are `<host>:<supervisor>:<child>`; a supervisor calls it with its own prefix.
        """

    def held(self, owner: str) -> Sequence[HeldJob]:
        """The unfinished jobs that this owner has claimed and not given back."""

    def live_checkpoints(self) -> set[Digest]:
        """Checkpoints that unfinished jobs would resume from."""

    def take_spent_checkpoints(self) -> set[Digest]:
        """Checkpoints that ended jobs have left and nobody resumes from; then forgotten."""

    def add_event(self, job: JobId, kind: str, data: Json, at: datetime) -> JobEvent: ...

    def events(self, job: JobId, limit: int, after: int) -> Sequence[JobEvent]: ...


@dataclass(frozen=True, kw_only=True)
class IdempotentReply:
    """What an Idempotency-Key of an actor was used for."""

    actor: str
    key: str
    body: Digest
    job: JobId
    created_at: datetime


class Idempotency(Protocol):
    def find(self, actor: str, key: str) -> IdempotentReply | None: ...

    def add(self, reply: IdempotentReply) -> None:
        """Raises InProgress when another transaction has just used the key."""

    def forget(self, before: datetime) -> int: ...


class AnswerCache(Protocol):
    def find(self, version: Digest, question: Digest) -> Digest | None:
        """The artifact with a version's answers to a question, if it was asked before."""

    def add(self, version: Digest, question: Digest, answers: Digest) -> None: ...

    def judged(self, question: Digest) -> int:
        """How many versions have answered this question."""


class References(Protocol):
    """Which artifacts rows name, by what they are. Ask for images first: freezing a dataset
    takes an image from the dataset's rows, where it may be removed, into a manifest.
    """

    def images(self) -> set[Digest]:
        """Of the images in datasets."""

    def manifests(self) -> set[Digest]:
        """Of dataset versions and suites."""

    def weights(self, *, without: Collection[Version] = ()) -> set[Digest]:
        """Of versions whose weights are not given up, and which are not among those named."""

    def reports(self) -> set[Digest]:
        """Of versions, and of jobs that have scored one."""

    def answers(self) -> set[Digest]:
        """Of versions to questions."""

    def checkpoints(self) -> set[Digest]:
        """Of unfinished jobs."""


class Keys(Protocol):
    def add(self, name: str, role: str, digest: Digest, at: datetime) -> None:
        """Let a key in; one that is in already stays as it is."""

    def find(self, digest: Digest) -> tuple[str, str] | None:
        """(name, role) of the key with this SHA-256."""

    def any(self) -> bool: ...

    def forget_others(self, digest: Digest) -> int:
        """Let in no key but the one with this SHA-256 from now on; how many others there were."""


@dataclass(frozen=True, kw_only=True)
class Beat:
    """What a worker last said of itself."""

    worker: str
    facts: Json
    age_s: float  # by the database's clock


class Beats(Protocol):
    def beat(self, worker: str, facts: Json) -> None:
        """A worker says that it lives (by the database's clock)."""

    def fresh(self, within_s: float) -> Sequence[tuple[str, Json]]: ...

    def all(self) -> Sequence[Beat]:
        """The last beat of every worker that has not ended in order, by name."""

    def forget(self, worker: str) -> None: ...

    def forget_silent(self, older_than_s: float) -> int:
        """Forget workers that have long said nothing; how many."""


class Tallies(Protocol):
    def add(self, name: str, labels: Mapping[str, str], amount: float = 1.0) -> None:
        """Count more under a name and labels; part of the transaction."""

    def add_phase(self, labels: Mapping[str, str], seconds: float) -> None:
        """Count how long a phase has taken."""

    def all(self) -> Sequence[Tally]: ...


@dataclass(frozen=True, kw_only=True)
class QueueFigure:
    """Unfinished jobs of one type and status."""

    type: JobType
    status: JobStatus
    jobs: int
    oldest: datetime  # when the oldest of them was ordered


@dataclass(frozen=True, kw_only=True)
class RunningFigure:
    """A claimed job and how far it is."""

    job: JobId
    type: JobType
    owner: str  # `<host>:<supervisor>:<child>`; empty once the claim was given up
    phase: str
    progress: Progress


class Figures(Protocol):
    """The present state in numbers; cheap enough to be asked every few seconds."""

    def queue(self) -> Sequence[QueueFigure]: ...

    def running(self) -> Sequence[RunningFigure]: ...

    def versions(self) -> Mapping[tuple[str, str], int]:
        """How many versions have a status and a verdict ("" before one)."""

    def alias_moves(self) -> Mapping[str, int]:
        """How often aliases have moved, by kind of move."""


class UnitOfWork(Protocol):
    """One transaction: entering begins it, `commit` ends it, leaving without rolls back."""

    datasets: Datasets
    suites: Suites
    policies: Policies
    models: Models
    versions: Versions
    aliases: Aliases
    jobs: Jobs
    idempotency: Idempotency
    answers: AnswerCache
    references: References
    keys: Keys
    beats: Beats
    tallies: Tallies
    figures: Figures

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def commit(self) -> None: ...


class Transactions(Protocol):
    """Opens transactions: `with transactions() as work: ...; work.commit()`."""

    def __call__(self, *, read_only: bool = False) -> UnitOfWork:
        """A transaction that has yet to begin; `read_only` ones never wait for a writer."""


@dataclass(frozen=True, kw_only=True)
class Platform:
    """What every use case stands on. `core.bootstrap.build` makes one."""

    settings: Settings
    transactions: Transactions
    artifacts: Artifacts
    clock: Clock


# ---- Images, training, evaluation -----------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """An image after decoding in the sandbox: the one stored form and what identifies it."""

    data: bytes  # the stored form: lossless WebP, RGB, bounded longest side, no metadata
    pixels: Digest  # SHA-256 of width, height and RGB bytes of the stored form
    width: int
    height: int
    dhash: str


class Decoder(Protocol):
    def decode(self, data: bytes) -> DecodedImage:
        """Raises UnsupportedImage, ImageCorrupt or ImageTooLarge."""


class Watch(Protocol):
    """The eye on a running job: renews its lease while it advances, and stops it."""

    def advance(
        self, phase: str, step: int, total: int, terms: Mapping[str, float] | None = None
    ) -> None:
        """Say how far the job is. Raises LeaseLost, CancelRequested or StopRequested."""

    def checkpoint_due(self) -> bool:
        """Whether enough time has passed, or the worker is about to stop."""

    def save_checkpoint(self, digest: Digest, step: int) -> None:
        """Make a stored checkpoint the one that counts. Raises LeaseLost."""

    def tell(self, kind: str, data: Json) -> None:
        """Add an event to the job's history. Raises LeaseLost."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Validation parts, by which training may choose: never what a verdict is given on."""

    new: ClassQuestion  # this update's own holdout
    kept: tuple[Question, ...]  # the model's suites


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """Everything that decides the weights of an update."""

    parent: Digest  # version digest: the student's start and the teacher
    root: Digest  # version digest of the line's first version; a first update's parent
    recipe: Recipe
    classes: tuple[str, ...]  # this update's classes
    learned: tuple[str, ...]  # classes the line learned before, oldest first
    open_classes: tuple[str, ...]  # class names of the model's suites, for label space "open"
    images: tuple[ManifestEntry, ...]  # the training side of the dataset version
    prompt: PromptTemplate
    exemplars: tuple[ManifestEntry, ...] = ()  # training sides of the line's earlier updates
    reference: tuple[ManifestEntry, ...] = ()  # zscl's images; texts are sentences, one or more
    selection: Selection | None = None  # for method "wise"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What an update made."""

    weights: Weights
    notes: Json  # what training chose by itself, e.g. {"mixing": 0.6, "tried": [...]}


class Trainer(Protocol):
    def train(self, task: TrainingTask, *, resume: Digest | None, watch: Watch) -> Trained:
        """Train and store the tensors; the weights' own artifact is stored too.

        `resume` is a checkpoint that an earlier attempt stored: the result has the digest
        the undisturbed run would have had. Raises Interruption, TrainingDiverged,
        ModelNotTrainable, OutOfMemory.
        """

    def environment(self) -> Mapping[str, str]:
        """What a bit-exact repeat depends on besides the task: libraries, threads, device."""


class Importer(Protocol):
    def load(self, base: str, watch: Watch) -> tuple[Weights, str]:
        """Store a base as fp32 weights; also its default prompt template. Raises BaseUnknown."""


class Evaluator(Protocol):
    def answer(
        self, version: Digest, questions: Sequence[Question], watch: Watch
    ) -> Sequence[Answers]:
        """Ask a version all questions; images that several share are encoded once."""


class Doorbell(Protocol):
    def ring(self, job: JobId, queue: Queue) -> None:
        """Tell some worker of a queue to look for work. Never raises: the sweeper rings again."""
