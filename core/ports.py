"""What use cases need from outside; the SQL protocols in it are the next to go (step 5)."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from core.archives.rules import ArchiveFormat, BucketFolder, BucketObject, UnpackedCount
from core.archives.rules import Path as rules_Path
from core.audit.rules import Principal
from core.bundles.rules import Envelope
from core.database.work import Transactions
from core.datasets.image_lists import SimilarImage
from core.datasets.manifests import ManifestEntry
from core.datasets.rules import Image
from core.evaluation.queries import Answers, ClassQuery, EvalQuery
from core.jobs.orders import JobType, Queue
from core.jobs.rules import EventKind, Job, JobStatus, Progress
from core.outbox.rules import Outcome
from core.recipes.fields import Precision, PromptTemplate
from core.recipes.rules import ClassTexts, Recipe
from core.registry.exports_rules import ExportFormat
from core.registry.versions import Version, Weights
from core.settings import Settings
from core.values import (
    Digest,
    ImageInput,
    JobId,
    Json,
    TrialId,
)
from core.vectors.rules import (
    EmbeddingMap,
    SearchedSuite,
    SearchRecalls,
    SuiteVectors,
)

# Ports for API keys, audit events and idempotent requests.


@dataclass(frozen=True, kw_only=True)
class IdempotentReply:
    """The request that an actor's Idempotency-Key was used for, and its job."""

    actor: str
    key: str
    body: Digest
    job: JobId
    created_at: datetime


class TokenVerifier(Protocol):
    """The check of the bearer tokens that an issuer gives."""

    def verify(self, token: str) -> Json:
        """Return the claims of a valid token. Raises Unauthorised or IssuerUnavailable."""


@dataclass(frozen=True, kw_only=True)
class AuditFilter:
    """The conditions on the audit events to list; None: no condition."""

    actor: str | None = None
    action: str | None = None
    subject: str | None = None  # it, and what is below it
    since: datetime | None = None
    until: datetime | None = None  # exclusive


# The artifact store, and the artifacts that database rows refer to.


@dataclass(frozen=True, kw_only=True)
class StoredArtifact:
    """An artifact's metadata, known without reading its bytes."""

    digest: Digest
    size: int  # bytes
    age_s: float  # since its last `put`, by the store's clock


BytesCallback = Callable[[int], object]
"""Callback with the number of bytes just hashed, written, sent or read; 0 during a bounded wait.

May be called from any thread. What it raises aborts the transfer, which then leaves nothing behind.
"""


def ignore_bytes(count: int) -> None:
    """Ignore the bytes that a transfer reports."""


class ArtifactWriter(Protocol):
    """Bytes that arrive in pieces and are not stored before `commit`."""

    def write(self, piece: bytes) -> None:
        """Add a piece."""

    def commit(self, moved: BytesCallback = ignore_bytes) -> Digest:
        """Store all pieces durably as one artifact and return its digest, as `put` does."""


class ArtifactBatch(Protocol):
    """Small artifacts that arrive one by one and are stored together, at `commit`."""

    def add(self, data: bytes) -> Digest:
        """Add an artifact and return its digest; safe to call from several threads."""

    def commit(self) -> None:
        """Store all artifacts durably, as `put` does, once every `add` has returned."""


class Artifacts(Protocol):
    """Bytes by their SHA-256. Writing the same bytes twice stores them once."""

    def put(self, data: bytes | memoryview, moved: BytesCallback = ignore_bytes) -> Digest:
        """Store bytes durably and return their digest; reset the age of bytes already stored.

        The bytes of a view must not change meanwhile. Raises StorageFull with `needed_bytes` and,
        if the store knows it, `free_bytes`, leaving nothing behind; or ArtifactsUnavailable.
        """

    def get(self, digest: Digest, moved: BytesCallback = ignore_bytes) -> bytes:
        """Return the verified bytes.

        Raises ArtifactMissing, ArtifactCorrupt or ArtifactsUnavailable.
        """

    def writer(self) -> AbstractContextManager[ArtifactWriter]:
        """Return a writer for an artifact too large for memory; without `commit`, nothing stays.

        When no room is left, StorageFull leaves the context, as does ArtifactsUnavailable.
        """

    def batch(self) -> AbstractContextManager[ArtifactBatch]:
        """Return a batch of small artifacts; without `commit`, nothing stays.

        When no room is left, StorageFull leaves the context, as does ArtifactsUnavailable.
        """

    def pieces(self, digest: Digest, moved: BytesCallback = ignore_bytes) -> Iterator[bytes]:
        """Yield the bytes in pieces, never all in memory; verified only when the last was yielded.

        Raises ArtifactMissing, ArtifactsUnavailable or, after the last piece, ArtifactCorrupt.
        """

    def verify(self, digest: Digest) -> None:
        """Verify stored bytes; a store that can tell that they are as they were need not read them.

        Raises ArtifactMissing, ArtifactCorrupt or ArtifactsUnavailable.
        """

    def renew(self, digest: Digest) -> None:
        """Verify stored bytes and reset their age as `put` does, without sending or writing them.

        Raises ArtifactMissing, ArtifactCorrupt or ArtifactsUnavailable.
        """

    def has(self, digest: Digest) -> bool:
        """Return whether the bytes are stored (not verified)."""

    def delete(self, digest: Digest) -> None:
        """Delete the bytes; no error if they are not stored."""

    def delete_if_older(self, digest: Digest, older_than_s: float) -> bool:
        """Delete bytes last put at least `older_than_s` seconds ago; return whether deleted.

        A concurrent `put` takes precedence: once it has returned, the bytes are stored.
        """

    def digests(self) -> Iterator[Digest]:
        """Yield the digests of all stored artifacts, in no particular order."""

    def stored(self) -> Iterator[StoredArtifact]:
        """Yield all stored artifacts, in no particular order."""

    def sweep(self, older_than_s: float) -> int:
        """Delete the temporary files of dead writers; return how many.

        These are the files that are at least `older_than_s` seconds old.
        """

    def free_bytes(self) -> int:
        """Return the free space in bytes."""


# Ports for datasets, suites, thumbnails and the decoding of uploads.


@dataclass(frozen=True, kw_only=True)
class DatasetUses:
    """The versions, suites and jobs that need a dataset version."""

    versions: Sequence[str]  # that learned from it or distilled it, as "model:number"
    suites: Sequence[str]  # names of those that were made of it
    jobs: Sequence[JobId]  # unfinished
    replaced: Sequence[int]  # versions of the dataset that it stands for since images were erased


class SimilarImages(Protocol):
    """An immutable index, in memory, of images by their thumbnails."""

    position: int  # of the last image, in insertion order

    def near(self, thumbnail: str) -> Sequence[SimilarImage]: ...

    def of(self, rows: Iterable[tuple[Digest, str]]) -> "SimilarImages":
        """Return an index of these images alone, each a group of its own."""


ImageWithThumbnail = tuple[Image, str]  # an image with its thumbnail


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """An image decoded in the sandbox: its stored form and what identifies it."""

    data: bytes  # the stored form: lossless WebP, RGB, bounded longest side, no metadata
    pixels: Digest  # SHA-256 of width, height and RGB bytes of the stored form
    width: int
    height: int
    dhash: str
    thumbnail: str  # 384 hex: 8 x 8 pixels of RGB


class Decoder(Protocol):
    def decode(self, data: bytes) -> DecodedImage:
        """Decode an upload.

        Raises UnsupportedImage, ImageCorrupt, ImageTooLarge or ImageAnimated.
        """

    def pixels(self, data: bytes, wanted: ImageInput) -> bytes:
        """Decode an image to a tower's input: RGB bytes, row by row.

        They are those of the image's stored form. Raises UnsupportedImage, ImageCorrupt,
        ImageTooLarge or ImageAnimated.
        """

    def preview(self, data: bytes) -> bytes:
        """Return a small lossy WebP of a stored image. Raises ImageCorrupt or ImageTooLarge."""


# Port for erasures and the images that they have erased.


# Ports for what a worker does with a model: import, train, evaluate.


class Monitor(Protocol):
    """The progress of a running job: reports renew its lease, and raise when it must stop."""

    def advance(
        self, phase: str, step: int, total: int, terms: Mapping[str, float] | None = None
    ) -> None:
        """Report progress. Raises LeaseLost, CancelRequested or StopRequested."""

    def checkpoint_due(self) -> bool:
        """Return whether enough time has passed since the last, or the worker is about to stop."""

    def moved(self, count: int) -> None:
        """Report bytes of an artifact in transfer (`ports.Moved`).

        Raises LeaseLost or CancelRequested.
        """

    def save_checkpoint(self, digest: Digest, step: int) -> None:
        """Record a stored checkpoint as the one to resume from. Raises LeaseLost."""

    def skip_checkpoint(self, step: int, facts: Json) -> None:
        """Report that the store had no room for a checkpoint; postpone the next one.

        Raises LeaseLost or StopRequested.
        """

    def emit(self, kind: EventKind, data: Json) -> None:
        """Add an event to the job's history. Raises LeaseLost."""


def ignore_progress(done: int, total: int) -> None:
    """Report no progress."""
    del done, total


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Queries on validation parts, by which training may choose; verdicts use other images."""

    new: ClassQuery  # this update's own holdout
    kept: tuple[EvalQuery, ...]  # the model's suites


@dataclass(frozen=True, kw_only=True)
class TrainingSpec:
    """Everything that determines the weights of an update."""

    parent: Digest  # version digest: the student's start and the teacher
    root: Digest  # version digest of the lineage's root; a first update's parent
    recipe: Recipe  # whose precision is resolved
    classes: tuple[str, ...]  # this update's classes
    learned: tuple[str, ...]  # classes that the lineage learned before, oldest first
    open_classes: tuple[str, ...]  # class names of the model's suites, for label space "open"
    images: tuple[ManifestEntry, ...]  # the training side of the dataset version
    prompt: PromptTemplate
    exemplars: tuple[
        ManifestEntry, ...
    ] = ()  # from training sides of the lineage's earlier updates
    reference: tuple[ManifestEntry, ...] = ()  # zscl's images; texts are sentences, one or more
    selection: Selection | None = None  # for a mixing choice by validation
    feature_statistics: Mapping[str, Digest] = field(default_factory=dict)  # the parent's, by class

    @property
    def pixels(self) -> set[Digest]:
        """All images that the weights depend on."""
        asked = (self.selection.new, *self.selection.kept) if self.selection else ()
        read = [self.images, self.exemplars, self.reference, *(query.entries for query in asked)]
        return {entry.pixels for entries in read for entry in entries}

    def __post_init__(self) -> None:
        if self.recipe.precision is Precision.AUTO:
            raise ValueError("precision 'auto' must be resolved before a task is made")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The result of training."""

    weights: Weights
    notes: Json  # what training chose by itself, e.g. {"mixing": 0.6, "tried": [...]}
    environments: tuple[Mapping[str, str], ...]  # that training ran in, in order
    feature_statistics: Mapping[str, Digest] = field(default_factory=dict)  # by class, to replay


class Trainer(Protocol):
    def train(self, spec: TrainingSpec, *, resume: Digest | None, monitor: Monitor) -> Trained:
        """Train, then store the tensors, the list of them, and feature statistics.

        Of the statistics, those of the spec are stored already; the others are stored after
        training, like the tensors, so that they are young when a row names them: see `gc`.
        `resume` is a checkpoint that an earlier attempt stored: in the same environment, the
        result has the same digest as an uninterrupted run. Raises Interruption,
        TrainingDiverged, ModelNotTrainable or OutOfMemory.
        """

    def native_precisions(self) -> Collection[Precision]:
        """Return the precisions that the device has instructions for."""


class Importer(Protocol):
    def load(self, base: str, monitor: Monitor) -> tuple[Weights, str]:
        """Store a base as fp32 weights; return these and its default prompt template.

        Raises BaseUnknown.
        """


class Evaluator(Protocol):
    def answer(
        self, version: Digest, queries: Sequence[EvalQuery], monitor: Monitor
    ) -> Sequence[Answers]:
        """Return a version's answers; images that several queries share are encoded once."""


# Ports for exports: their rows, and what writes and checks their files.


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Images and texts about which both a version and its export are asked."""

    images: tuple[Digest, ...]  # stored images; empty: the exporter generates some
    texts: tuple[str, ...]


class Exporter(Protocol):
    def formats(self) -> Collection[ExportFormat]:
        """Return the formats whose libraries are installed here."""

    def write(
        self, version: Digest, export_format: ExportFormat, folder: Path, monitor: Monitor
    ) -> None:
        """Write the files of a version into an empty folder; the same version, the same bytes.

        What open_clip loads needs no exporter: see `write_folder`. Raises ArtifactMissing or
        ArtifactCorrupt.
        """

    def check(
        self,
        version: Digest,
        export_format: ExportFormat,
        folder: Path,
        samples: Samples,
        monitor: Monitor,
    ) -> Json:
        """Load the files as their users do, and compare their features with the version's.

        Return the smallest cosine over all images and over all texts, what they were, and the
        releases of the libraries: see `require_equal`.
        """


# Ports for imports: resumable uploads, archives that are read as they come, and buckets.


@dataclass(frozen=True, kw_only=True)
class ArchivedFile:
    """A file in an archive; its bytes can be read once, before the next file is asked for."""

    path: rules_Path
    pieces: Iterator[bytes]


class ArchiveReader(Protocol):
    def files(
        self, archive_format: ArchiveFormat, pieces: Iterator[bytes], count: UnpackedCount
    ) -> Iterator[ArchivedFile]:
        """Yield the files of an archive that comes in pieces, all of which are read.

        What is not read of a file is skipped. Nothing is written to a disk. Raises ArchiveUnsafe,
        ArchiveCorrupt, ArchiveTooBig and what `pieces` raises.
        """


class Buckets(Protocol):
    """The buckets that the operator has named, and no others."""

    def objects(self, folder: BucketFolder) -> Iterator[BucketObject]:
        """Yield the objects below a prefix, in the order of their keys.

        Raises BucketNotAllowed before any request, or BucketUnavailable.
        """

    def pieces(self, bucket: str, listed: BucketObject) -> Iterator[bytes]:
        """Yield the bytes of an object in pieces; goes on where a connection broke.

        Raises BucketNotAllowed before any request, ObjectChanged before the first piece if the
        object has another ETag now or is gone, and BucketUnavailable.
        """


# Port for the classification of images by a version.


@dataclass(frozen=True, kw_only=True)
class ClassificationRequest:
    """A version, the input of its image tower, and the classes that it may choose from."""

    version: Version
    input: ImageInput
    texts: ClassTexts


class Classifier(Protocol):
    def classify(
        self, request: ClassificationRequest, images: Sequence[bytes], *, top_k: int
    ) -> Sequence[Sequence[Mapping[str, Any]]]:
        """Return a list of `{"class", "probability"}` for each image, most probable first.

        The images are pixels of the version's input. Raises InferenceUnavailable; InferenceBusy;
        NotServable when the version's weights are missing; FieldInvalid when the version cannot
        take the classes.
        """


# Ports for jobs, their leases, and the notification of workers.


@dataclass(frozen=True, kw_only=True)
class HeldJob:
    """A job that a process has claimed, as its supervisor sees it."""

    id: JobId
    status: JobStatus
    lease_s: float  # seconds left, by the database's clock; negative once it has run out


@dataclass(frozen=True, kw_only=True)
class NamedJob:
    """A job with values from the rows that it refers to."""

    job: Job
    model: str | None  # the model's name, if the job has one
    parent_digest: Digest | None  # of the parent version, once that is fixed


class JobNotifier(Protocol):
    def notify(self, job: JobId, queue: Queue) -> None:
        """Notify a worker of a queue that a job waits. Never raises: the sweeper repeats it."""


# Ports for worker heartbeats, counters and gauges.


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """The last heartbeat of a worker."""

    worker: str
    facts: Json
    age_s: float  # by the database's clock


@dataclass(frozen=True, kw_only=True)
class QueueGauge:
    """The number of unfinished jobs of one type and status."""

    type: JobType
    status: JobStatus
    jobs: int
    oldest: datetime  # when the oldest of them was ordered


@dataclass(frozen=True, kw_only=True)
class RunningGauge:
    """The progress of a claimed job."""

    job: JobId
    type: JobType
    owner: str  # `<host>:<supervisor>:<child>`; empty once the job was released
    phase: str
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class OutboxGauge:
    """The pending deliveries of webhooks."""

    pending: int
    oldest: datetime | None  # when the oldest of them was written


# Ports for models, versions, aliases and gate policies.


# Port for traces: what a request and its job did, and for how long.


class SpanKind(StrEnum):
    """The kind of a span, as OpenTelemetry has it."""

    SERVER = "server"  # a request that was received
    CONSUMER = "consumer"  # a job that was claimed
    INTERNAL = "internal"  # a part of either


class Span(Protocol):
    """A piece of work with its times; what begins within its context is its child.

    Names and attributes hold no secrets, and nothing that people have named or written.
    """

    @property
    def context(self) -> str | None:
        """The span as a `traceparent` header names it, None without traces."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the span, as failed if an error leaves it."""

    def rename(self, name: str) -> None: ...

    def set_attributes(self, attributes: Mapping[str, str | int]) -> None: ...

    def fail(self, code: str) -> None: ...

    def end(self) -> None: ...


class Tracer(Protocol):
    """Begins spans, and sends those that have ended to a collector."""

    def begin(
        self, name: str, kind: SpanKind = SpanKind.INTERNAL, *, parent: str | None = None
    ) -> Span:
        """Begin a span, as a child of a `traceparent` if one is given and well formed."""

    def close(self) -> None: ...


class Untraced:
    """The tracer of a service without traces, and each of its spans."""

    context = None

    def begin(self, *_: object, **__: object) -> Span:
        """Return a span that is not recorded."""
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def rename(self, name: str) -> None: ...

    def set_attributes(self, attributes: Mapping[str, str | int]) -> None: ...

    def fail(self, code: str) -> None: ...

    def end(self) -> None: ...

    def close(self) -> None: ...


# Ports for trials and for the predictions that are made during them.


Caller = tuple[TrialId, Digest]  # see `Trial.caller_of`


# Ports for image vectors: what computes and compares them, and the rows of what is stored.


@dataclass(frozen=True, kw_only=True)
class FittedBridge:
    """A map of old vectors to new ones, as a safetensors file, and how it was chosen."""

    file: bytes
    kind: str
    images: int  # that it was fitted on
    scores: Mapping[str, float]  # mean cosine of each candidate on folds that it was not fitted on


@dataclass(frozen=True, kw_only=True)
class IndexComparison:
    """The searches of a new version in indexes of an old one's vectors."""

    bridge: FittedBridge
    searches: tuple[SearchRecalls, ...]
    vectors: tuple[SuiteVectors, ...]
    maps: tuple[EmbeddingMap, ...] = ()


class Embedder(Protocol):
    def compare(
        self, old: Digest, new: Digest, suites: Sequence[SearchedSuite], monitor: Monitor
    ) -> IndexComparison:
        """Fit a bridge between two versions' vectors, and search with and without it.

        The suites are searchable: see `require_searchable`. Raises ArtifactMissing,
        ArtifactCorrupt, OutOfMemory, AnswersNotFinite, and what the monitor raises.
        """

    def embed(
        self, version: Digest, parts: Sequence[Sequence[ManifestEntry]], monitor: Monitor
    ) -> Iterator[bytes]:
        """Yield the vectors of each part's images: little-endian float32 rows, L2-normalised.

        A part's bytes do not depend on the other parts. Raises what `compare` raises.
        """


# Ports for webhooks, the outbox of their deliveries, and what sends these.


@dataclass(frozen=True, kw_only=True)
class Message:
    """A signed request to a receiver."""

    id: str  # of the event
    at: datetime
    body: bytes
    secrets: tuple[str, ...] = field(repr=False)  # each signs


class WebhookClient(Protocol):
    def check(self, url: str) -> None:
        """Raise UrlForbidden unless messages may be sent to a URL, as its host resolves now."""

    def send(self, url: str, message: Message) -> Outcome:
        """Send a message once, within the time that the settings allow. Never raises."""


# Transactions, and the platform that use cases share.


Clock = Callable[[], datetime]  # aware, UTC


@dataclass(frozen=True, kw_only=True)
class Platform:
    """The dependencies of every use case; `core.bootstrap.build` makes one."""

    settings: Settings
    transactions: Transactions
    artifacts: Artifacts
    clock: Clock
    tracer: Tracer = field(default_factory=Untraced)

    def on_behalf_of(self, principal: Principal) -> Self:
        """Return the platform whose transactions are this principal's."""
        return replace(self, transactions=self.transactions.on_behalf_of(principal))


# The port for signatures: this service's key, and the keys that it trusts.


@dataclass(frozen=True, kw_only=True)
class PublicKey:
    """The public half of the service's key."""

    key_id: str  # SHA-256 of the SubjectPublicKeyInfo, in hex
    encoded: str  # SubjectPublicKeyInfo in base64
    pem: str


@dataclass(frozen=True, kw_only=True)
class Signer:
    """A trusted key that has signed something."""

    name: str  # the operator's
    key_id: str


class Signatures(Protocol):
    def public_key(self) -> PublicKey:
        """Return the public key of this service. Raises SigningKeyMissing."""

    def sign(self, payload: bytes) -> Envelope:
        """Return a payload with this service's signature, always the same. See `public_key`."""

    def signer_of(self, envelope: Envelope) -> Signer:
        """Return the trusted key that has signed an envelope. Raises BundleNotTrusted."""


# Ports: what domain and use cases need from outside, as protocols.
