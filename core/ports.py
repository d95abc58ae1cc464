"""What use cases need from outside; the SQL protocols in it are the next to go (step 5)."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from core.access.rules import ApiKey, Secret, Session
from core.archives.rules import ArchiveFormat, BucketFolder, BucketObject, UnpackedCount
from core.archives.rules import Path as rules_Path
from core.audit.rules import AuditEvent, AuditHead, Change, Principal
from core.bundles.rules import Envelope
from core.datasets.image_lists import NearDuplicates, SimilarImage
from core.datasets.manifests import Manifest, ManifestEntry, Member
from core.datasets.rules import Dataset, DatasetImage, DatasetRef, DatasetVersion, Image, Suite
from core.erasure.rules import Erasure
from core.evaluation.queries import Answers, ClassQuery, EvalQuery
from core.gate.rules import GatePolicy
from core.imports.rules import ResumableUpload
from core.jobs.orders import JobType, Queue
from core.jobs.rules import CounterValue, EventKind, Job, JobEvent, JobStatus, Progress
from core.outbox.rules import Delivery, OutboxEvent, Outcome, Webhook
from core.recipes.fields import Precision, PromptTemplate
from core.recipes.rules import ClassTexts, Recipe
from core.registry.aliases import Alias, AliasMove, MoveKind
from core.registry.exports_rules import Export, ExportFormat
from core.registry.versions import Model, Version, Weights
from core.settings import Settings
from core.trials.rules import CoursePoint, Prediction, Sample, Trial, TrialCounts, TrialEnd
from core.values import (
    DatasetId,
    DeliveryId,
    Digest,
    ErasureId,
    ImageInput,
    JobId,
    Json,
    KeyId,
    ModelId,
    PolicyId,
    PredictionId,
    SuiteId,
    TrialId,
    UploadId,
    WebhookId,
)
from core.vectors.rules import (
    EmbeddingMap,
    IndexReport,
    SearchedSuite,
    SearchRecalls,
    StoredVectors,
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


class Idempotency(Protocol):
    def find(self, actor: str, key: str) -> IdempotentReply | None: ...

    def add(self, reply: IdempotentReply) -> None:
        """Add a reply. Raises InProgress when another transaction has just used the key."""

    def forget(self, before: datetime) -> int: ...


class Keys(Protocol):
    def add(self, key: ApiKey, secret: Digest) -> None:
        """Add a key with the SHA-256 of its first secret. Raises NameTaken."""

    def get(self, reference: str) -> ApiKey:
        """Return a key by id or name. Raises KeyNotFound."""

    def find(self, digest: Digest) -> Secret | None:
        """Return the secret with this SHA-256, with its key."""

    def find_all(self, digests: Collection[Digest]) -> Mapping[Digest, Secret]:
        """Return those of these secrets that are stored, with their keys, by their SHA-256."""

    def any(self) -> bool: ...

    def lock_all(self) -> Sequence[ApiKey]:
        """Return all keys, oldest first, and keep others from changing them until commit."""

    def page(self, limit: int, after: str | None) -> Sequence[ApiKey]:
        """Return a page of keys, oldest first; `after` is the last id of the page before."""

    def revoke(self, key: KeyId, at: datetime) -> None: ...

    def rotate(
        self, key: KeyId, secret: Digest, prefix: str, *, at: datetime, until: datetime
    ) -> None:
        """Give a key a new secret; its other ones are valid until a time, or less."""

    def end_secrets(self, key: KeyId, until: datetime, *, but: Digest | None = None) -> int:
        """Limit the secrets of a key, but one, to a time; return how many were valid longer."""

    def note_uses(self, uses: Mapping[KeyId, datetime]) -> None:
        """Note when keys were used last, unless later uses are noted already."""

    def last_uses(self, keys: Collection[KeyId]) -> Mapping[KeyId, datetime]:
        """Return when some keys were used last; those of which no use is known are left out."""


class Sessions(Protocol):
    """Sessions of browsers, by the SHA-256 of their ids."""

    def add(self, session: Session) -> None: ...

    def find_all(self, digests: Collection[Digest]) -> Mapping[Digest, Session]:
        """Return those of these sessions that are stored, with the secrets that opened them."""

    def remove(self, digest: Digest) -> bool:
        """Remove a session; return whether there was one."""

    def forget(self, before: datetime) -> int:
        """Remove the sessions that expired before a time; return how many."""


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


class AuditTrail(Protocol):
    """The audit events: appended, read, and nothing else."""

    def add(self, change: Change) -> None:
        """Append the event of a change when the transaction commits."""

    def head(self) -> AuditHead:
        """Return the number and the hash of the last event."""

    def last(self) -> int:
        """Return the number of the last row, 0 if there is none: the head's, unless forged."""

    def page(self, limit: int, after: int | None, wanted: AuditFilter) -> Sequence[AuditEvent]:
        """Return a page of events, newest first; `after` is the last number of the page before."""

    def between(self, after: int, last: int, limit: int) -> Sequence[AuditEvent]:
        """Return at most `limit` events after a number up to another, oldest first."""


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


class ArtifactRoots(Protocol):
    """The artifacts that database rows refer to, by kind.

    Call `images` first: freezing a dataset copies references to images from the dataset's rows,
    from which they can be removed, into a manifest.
    """

    def images(self) -> set[Digest]:
        """Return the digests of images in datasets, and of samples of trials."""

    def erased(self) -> set[Digest]:
        """Return the stored forms of erased images, which manifests still name."""

    def manifests(self) -> set[Digest]:
        """Return the digests of the manifests of dataset versions and suites."""

    def weights(self, *, without: Collection[Version] = ()) -> set[Digest]:
        """Return the digests of the weights of versions, except collected ones and `without`."""

    def feature_statistics(self, *, without: Collection[Version] = ()) -> set[Digest]:
        """Return the feature statistics of the versions whose weights `weights` returns."""

    def reports(self) -> set[Digest]:
        """Return the digests of the reports of versions, and of jobs that have scored one.

        With them are the records that imported versions brought.
        """

    def answers(self) -> set[Digest]:
        """Return the digests of the answers of versions to queries."""

    def exports(self) -> set[Digest]:
        """Return the digests of the files of exports."""

    def vectors(self) -> set[Digest]:
        """Return the digests of files of vectors and of their images, and of bridges."""

    def vector_parts(self) -> set[Digest]:
        """Return the digests of lists of the parts that unfinished re-embeddings have stored."""

    def archives(self) -> set[Digest]:
        """Return the digests of parts of uploads, and of archives that unfinished jobs import."""

    def spent_archives(self) -> set[Digest]:
        """Return the archives of imports that have ended, unless something else needs them."""

    def checkpoints(self) -> set[Digest]:
        """Return the digests of the checkpoints of unfinished jobs."""


# Ports for datasets, suites, thumbnails and the decoding of uploads.


@dataclass(frozen=True, kw_only=True)
class DatasetUses:
    """The versions, suites and jobs that need a dataset version."""

    versions: Sequence[str]  # that learned from it or distilled it, as "model:number"
    suites: Sequence[str]  # names of those that were made of it
    jobs: Sequence[JobId]  # unfinished
    replaced: Sequence[int]  # versions of the dataset that it stands for since images were erased


class Datasets(Protocol):
    def add(self, dataset: Dataset) -> None:
        """Add a dataset. Raises NameTaken."""

    def get(self, reference: str, *, lock: bool = False) -> Dataset:
        """Return a dataset by id or name; `lock` keeps others from changing it before commit.

        Raises DatasetNotFound.
        """

    def page(self, limit: int, after: str | None) -> Sequence[Dataset]: ...

    def add_image(self, row: DatasetImage) -> None:
        """Add one image; see `add_images`."""

    def add_images(self, dataset: DatasetId, rows: Sequence[DatasetImage]) -> None:
        """Add images, each with one text; skip those that already have the same text."""

    def texts(
        self, dataset: DatasetId, pixels: Collection[Digest]
    ) -> Mapping[Digest, Sequence[str]]:
        """Return the texts that images have in a dataset, without images that it does not hold."""

    def added_at(
        self, dataset: DatasetId, pixels: Collection[Digest]
    ) -> Mapping[tuple[Digest, str], datetime]:
        """Return when images came into a dataset with each of their texts."""

    def images(self, dataset: DatasetId) -> Sequence[DatasetImage]: ...

    def image_page(
        self, dataset: DatasetId, limit: int, after: Digest | None, *, text: str | None = None
    ) -> Sequence[DatasetImage]:
        """Return all rows of a page of images, by pixels; with `text`, of the images with it."""

    def near_duplicate_page(
        self, dataset: DatasetId, limit: int, after: Digest | None
    ) -> Sequence[NearDuplicates]:
        """Return a page of groups of near-duplicates, each with its first images."""

    def members(self, dataset: DatasetId) -> Iterable[Member]:
        """Yield every image of a dataset, once for each of its texts, by pixels."""

    def stored(self, pixels: Digest) -> Image | None:
        """Return an image of any dataset, by its pixels."""

    def stored_bytes(self) -> int:
        """Return the bytes of the images in datasets and of samples, each image counted once."""

    def missing_bytes(self, wanted: Collection[Image]) -> int:
        """Return the bytes of those images that no dataset and no sample holds, each once."""

    def count(self, dataset: DatasetId) -> Mapping[str, int]:
        """Return the number of images per text (for captioned datasets: {"": images})."""

    def remove_image(self, dataset: DatasetId, pixels: Digest) -> None:
        """Remove an image, serialised with `next_version`. Raises ImageNotFound."""

    def remove(self, dataset: DatasetId) -> None:
        """Remove a dataset with its images and its versions, which are locked."""

    def describe(
        self, dataset: DatasetId, *, description: str | None, metadata: Mapping[str, str] | None
    ) -> None:
        """Replace the description and the metadata of a dataset; None leaves one as it is."""

    def lock(self, dataset: DatasetId) -> Sequence[DatasetVersion]:
        """Return all versions, once nobody keeps one, and keep others from changing the dataset.

        Raises DatasetNotFound.
        """

    def uses(self, dataset: DatasetId, number: int | None = None) -> DatasetUses:
        """Return what needs a version, or any version of a dataset."""

    def remove_version(
        self, version: DatasetVersion, later: Iterable[tuple[DatasetVersion, Manifest]]
    ) -> None:
        """Remove a locked version, given those that were frozen after it, oldest first."""

    def rename_class(self, dataset: DatasetId, name: str, to: str) -> int:
        """Give all images of a class to another class; return how many there were."""

    def move_images(self, dataset: DatasetId, pixels: Collection[Digest], to: str) -> None:
        """Give images that the labelled dataset holds to a class."""

    def count_duplicates(self, dataset: DatasetId, count: int) -> None:
        """Add to the number of files that were sent again."""

    def revision(self, dataset: DatasetId) -> int:
        """Return a number that increases with every change to a dataset or to one of its images."""

    def next_version(self, dataset: DatasetId) -> int:
        """Return the next version number, from a counter row that stays locked until commit."""

    def add_version(self, version: DatasetVersion, manifest: Manifest) -> None: ...

    def version(self, dataset: DatasetId, number: int, *, keep: bool = False) -> DatasetVersion:
        """Return a dataset version; `keep` keeps others from deleting it before commit.

        Raises DatasetVersionNotFound.
        """

    def versions(self, dataset: DatasetId) -> Sequence[DatasetVersion]: ...

    def newest_versions(
        self, datasets: Collection[DatasetId]
    ) -> Mapping[DatasetId, tuple[DatasetVersion, int]]:
        """Return the newest version of each of some datasets that has one, and how many it has."""

    def replace_version(self, dataset: DatasetId, number: int, by: int) -> None:
        """Record the version that a locked one is replaced by, since images of it were erased."""

    def holding(self, pixels: Collection[Digest]) -> set[DatasetId]:
        """Return the datasets whose drafts hold one of some images."""

    def erase(self, pixels: Collection[Digest]) -> None:
        """Remove images from all drafts, and what was derived from their pixels."""

    def near_duplicates(self, pixels: Collection[Digest]) -> set[Digest]:
        """Return the other images of some images' groups."""

    def trained_groups(self, groups: Collection[Digest], *, except_for: DatasetId) -> set[Digest]:
        """Return the groups that are on the training side of other datasets' versions.

        Versions of `except_for` count too once an update has learned from that dataset or is going
        to; distilling its images as a reference set counts as learning.
        """


class Suites(Protocol):
    def add(self, suite: Suite, manifest: Manifest) -> None:
        """Add a suite. Raises NameTaken."""

    def get(self, reference: str) -> Suite:
        """Return a suite by id or name. Raises SuiteNotFound."""

    def names(self, ids: Collection[SuiteId]) -> Mapping[str, str]:
        """Return the names of suites by id."""

    def page(self, limit: int, after: str | None) -> Sequence[Suite]: ...

    def contains(self, groups: Collection[Digest]) -> set[Digest]:
        """Return the groups of which any suite holds an image."""


class SimilarImages(Protocol):
    """An immutable index, in memory, of images by their thumbnails."""

    position: int  # of the last image, in insertion order

    def near(self, thumbnail: str) -> Sequence[SimilarImage]: ...

    def of(self, rows: Iterable[tuple[Digest, str]]) -> "SimilarImages":
        """Return an index of these images alone, each a group of its own."""


ImageWithThumbnail = tuple[Image, str]  # an image with its thumbnail


class Thumbnails(Protocol):
    """The thumbnails of images; once stored, a thumbnail never changes."""

    def all(self) -> SimilarImages:
        """Return an index of all images; a process reads only those added since its last call."""

    def after(self, position: int) -> SimilarImages:
        """Return an index of the images added after a position; after 0 are all."""

    def lock(self) -> None:
        """Keep other transactions from adding thumbnails until this one ends."""

    def originals(self, pixels: Collection[Digest]) -> Mapping[Digest, Digest | None]:
        """Map each known image to the oldest of its group, or to None if it is the oldest."""

    def missing(self, dhashes: Collection[str]) -> Sequence[Image]:
        """Return images without thumbnail whose difference hash is close to one of `dhashes`.

        Such images are from before there were thumbnails.
        """

    def add(self, seen: Sequence[ImageWithThumbnail]) -> None:
        """Add thumbnails; an existing one stays unchanged."""


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


class Erasures(Protocol):
    def add(self, erasure: Erasure) -> None: ...

    def get(self, erasure: ErasureId) -> Erasure:
        """Return an erasure. Raises ErasureNotFound."""

    def page(self, limit: int, after: str | None) -> Sequence[Erasure]:
        """Return a page of erasures, oldest first; `after` is the last id of the page before."""

    def save(self, erasure: Erasure) -> None:
        """Update the job, the time and the findings of an erasure; note what it has erased."""

    def erased(self, pixels: Collection[Digest]) -> Mapping[Digest, ErasureId]:
        """Return which of some images were erased, and by which erasure."""

    def forms(self, pixels: Collection[Digest]) -> Mapping[Digest, Digest]:
        """Return the newest stored form of each of some images, also of erased ones."""


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


class AnswerCache(Protocol):
    def stored(
        self, versions: Collection[Digest], queries: Collection[Digest]
    ) -> Mapping[tuple[Digest, Digest], Digest]:
        """Return the artifacts with answers of any of the versions to any of the queries."""

    def add(self, version: Digest, query: Digest, answers: Digest) -> None: ...

    def judged(self, query: Digest) -> int:
        """Return how many versions have answered a query."""

    def judged_in(self, model: ModelId, queries: Collection[Digest]) -> Mapping[Digest, int]:
        """Return how many versions of a model, its root not counted, have answered each query."""


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


class Exports(Protocol):
    def put(self, export: Export) -> None:
        """Store an export in the place of the one in that format, if there is one."""

    def get(self, model: ModelId, version: int, export_format: ExportFormat) -> Export:
        """Return an export. Raises ExportNotFound."""

    def all(self, model: ModelId, version: int) -> Sequence[Export]:
        """Return the exports of a version, by format."""

    def remove(self, model: ModelId, version: int, export_format: ExportFormat) -> None:
        """Delete an export, whose bytes may be collected. Raises ExportNotFound."""


# Ports for imports: resumable uploads, archives that are read as they come, and buckets.


class Uploads(Protocol):
    """The uploads of the transaction's principal; those of others are not there."""

    def add(self, upload: ResumableUpload) -> None: ...

    def get(self, upload: UploadId) -> ResumableUpload:
        """Return an upload. Raises UploadNotFound."""

    def count(self) -> int:
        """Return how many uploads the principal has."""

    def extend(self, upload: ResumableUpload, seen: int) -> None:
        """Write an upload with a new part, if its offset is still `seen`.

        Raises OffsetMismatch otherwise, and UploadNotFound.
        """

    def remove(self, upload: UploadId) -> None:
        """Remove an upload. Raises UploadNotFound."""

    def forget(self, before: datetime) -> int:
        """Remove the uploads of all principals that expired before a time; return how many."""


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


class Jobs(Protocol):
    def add(self, job: Job) -> None:
        """Add a job. Raises ModelNotFound if its model has just been deleted."""

    def get(self, job: JobId, *, lock: bool = False) -> Job:
        """Return a job; `lock` keeps others from changing it before commit. Raises JobNotFound."""

    def statuses(self, wanted: Collection[JobId]) -> Mapping[JobId, JobStatus]:
        """Return the status of each of some jobs; those that are not there are left out."""

    def page(
        self,
        limit: int,
        after: JobId | None,
        *,
        model: ModelId | None = None,
        job_type: JobType | None = None,
        status: JobStatus | None = None,
    ) -> Sequence[Job]:
        """Return a page of jobs, newest first; `after` is the last id of the page before."""

    def named(self, job: JobId) -> NamedJob:
        """Return a job with values from the rows it refers to. Raises JobNotFound."""

    def named_page(
        self,
        limit: int,
        after: JobId | None,
        *,
        model: ModelId | None = None,
        job_type: JobType | None = None,
        status: JobStatus | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        metadata: tuple[str, str | None] | None = None,
    ) -> Sequence[NamedJob]:
        """Return the page that `page` does, with values from the rows that jobs refer to.

        Jobs were created at `since` or later and before `until`. `metadata` is a key that they
        have, and its value; with None, any value.
        """

    def waiting(self, *, model: ModelId | None = None, ordered_by: str | None = None) -> int:
        """Return the number of queued jobs of a model, or of those that somebody has ordered.

        Until commit nobody else counts, so that two orders cannot both take the last place.
        """

    def claim(
        self, owner: str, lease_s: float, lost_limit: int, queues: Collection[Queue] = tuple(Queue)
    ) -> Job | None:
        """Claim the next claimable job by one conditional update; return None if there is none.

        A job is claimable if it is in one of the queues; is queued and not paused, or
        running/cancelling with an expired lease (by the database's clock); and its lane has no
        earlier unfinished job. Higher priorities come first, then older jobs. The claim sets the
        status (queued becomes running), owner, lease, fence + 1, attempt + 1 and, after an expired
        lease, lost + 1. A job that is lost for the `lost_limit`-th time fails with
        `worker_lost` instead, or is cancelled if that was requested, and the next one is tried.
        """

    def claimable(self, queues: Collection[Queue] = tuple(Queue)) -> set[Queue]:
        """Return the queues in which `claim` would find a job now (cheap; for JobNotifier)."""

    def advance(
        self, job: JobId, fence: int, *, lease_s: float, phase: str, progress: Progress
    ) -> JobStatus:
        """Write progress, renew the lease by fence and return the status. Raises LeaseLost."""

    def renew(self, job: JobId, fence: int, lease_s: float) -> JobStatus:
        """Renew the lease by fence and return the job's status. Raises LeaseLost."""

    def status(self, job: JobId, fence: int) -> JobStatus:
        """Return the status if the fence still holds. Raises LeaseLost."""

    def set_parent(self, job: JobId, fence: int, parent: int) -> None:
        """Set the parent version. Raises LeaseLost."""

    def pin_precision(self, job: JobId, fence: int, precision: Precision) -> None:
        """Pin the precision of an update. Raises LeaseLost."""

    def pin(self, job: JobId, fence: int, *, suites: Sequence[SuiteId], policy: PolicyId) -> None:
        """Pin suites and policy of an update ordered without them. Raises LeaseLost."""

    def set_checkpoint(self, job: JobId, fence: int, checkpoint: Digest) -> None:
        """Record the checkpoint to resume from; set lost and pauses to 0. Raises LeaseLost."""

    def set_version(self, job: JobId, fence: int, version: int) -> None:
        """Record the candidate that a job has published; drop its checkpoint. Raises LeaseLost."""

    def finish(self, job: Job, fence: int) -> None:
        """Write the final state and the event of it, by fence.

        Raises LeaseLost, or CancelRequested if a job that is being cancelled would succeed.
        """

    def cancel(self, job: Job, seen: JobStatus, at: datetime) -> None:
        """Write a cancelled or cancelling job and the event of it, if its status is still `seen`.

        Raises JobFinished otherwise.
        """

    def release(self, job: JobId, fence: int, *, lost: bool = False) -> None:
        """Put a running job back into its queue, counting it as lost or not.

        A job that is being cancelled keeps that status. Raises LeaseLost.
        """

    def pause(self, job: JobId, fence: int, *, phase: str, pause_s: float) -> None:
        """Put a running job back into its queue, not to be claimed for `pause_s` seconds.

        That does not count as lost. The queued job shows the phase. A job that is being cancelled
        keeps that status. Raises LeaseLost.
        """

    def release_owner(self, owner_prefix: str) -> int:
        """Expire the leases of a process that is known to be dead; return how many.

        Owners are `<host>:<supervisor>:<child>`; a supervisor calls it with its own prefix.
        """

    def cancelling_alone(self) -> Sequence[Job]:
        """Return jobs being cancelled that no worker holds: released, or their lease expired."""

    def held(self, owner: str) -> Sequence[HeldJob]:
        """Return the unfinished jobs that an owner has claimed and not released."""

    def live_checkpoints(self) -> set[Digest]:
        """Return the checkpoints that unfinished jobs would resume from."""

    def take_spent_checkpoints(self) -> set[Digest]:
        """Clear the checkpoints of ended jobs; return those that no job resumes from."""

    def add_event(self, job: JobId, kind: EventKind, data: Json, at: datetime) -> JobEvent: ...

    def events(self, job: JobId, limit: int, after: int) -> Sequence[JobEvent]: ...

    def newest_events(self, job: JobId, limit: int) -> Sequence[JobEvent]:
        """Return a job's newest events, newest first."""

    def sampled_events(self, job: JobId, kind: EventKind, most: int) -> Sequence[JobEvent]:
        """Return about `most` of a job's events of a kind, spread evenly, oldest first."""


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


class Heartbeats(Protocol):
    def record(self, worker: str, facts: Json) -> None:
        """Record a heartbeat of a worker, by the database's clock."""

    def fresh(self, within_s: float) -> Sequence[tuple[str, Json]]: ...

    def all(self) -> Sequence[Heartbeat]:
        """Return the last heartbeat of every worker that has not shut down cleanly, by name."""

    def forget(self, worker: str) -> None: ...

    def forget_silent(self, older_than_s: float) -> int:
        """Forget workers without a heartbeat for `older_than_s` seconds; return how many."""


class Counters(Protocol):
    def add(self, name: str, labels: Mapping[str, str], amount: float = 1.0) -> None:
        """Add to the counter of a name and labels, as part of the transaction."""

    def add_phase(self, labels: Mapping[str, str], seconds: float) -> None:
        """Add the duration of a phase to its counters."""

    def all(self) -> Sequence[CounterValue]: ...


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


class Gauges(Protocol):
    """The present state in numbers, cheap enough to read every few seconds."""

    def queue(self) -> Sequence[QueueGauge]: ...

    def running(self) -> Sequence[RunningGauge]: ...

    def versions(self) -> Mapping[tuple[str, str], int]:
        """Return the number of versions by status and verdict ("" before one)."""

    def alias_moves(self) -> Mapping[str, int]:
        """Return the number of alias moves by kind."""

    def outbox(self) -> OutboxGauge:
        """Return the pending deliveries of webhooks."""


# Ports for models, versions, aliases and gate policies.


class Policies(Protocol):
    def add(self, policy: GatePolicy) -> None:
        """Add a policy. Raises NameTaken."""

    def get(self, reference: str) -> GatePolicy:
        """Return a policy by id or name. Raises PolicyNotFound."""

    def names(self, ids: Collection[PolicyId]) -> Mapping[str, str]:
        """Return the names of policies by id."""

    def page(self, limit: int, after: str | None) -> Sequence[GatePolicy]: ...


class Models(Protocol):
    def add(self, model: Model) -> None:
        """Add a model. Raises NameTaken."""

    def get(self, reference: str) -> Model:
        """Return a model by id or name. Raises ModelNotFound."""

    def ids_of(self, names: Collection[str]) -> Collection[ModelId]:
        """Return the ids of the models that have one of these names; others are left out."""

    def page(self, limit: int, after: str | None) -> Sequence[Model]: ...

    def taught(self, datasets: Collection[DatasetId]) -> Mapping[DatasetId, Sequence[str]]:
        """Return the names of the models that learned from each of some datasets."""

    def judged(
        self, by: Collection[SuiteId | PolicyId]
    ) -> Mapping[SuiteId | PolicyId, Sequence[str]]:
        """Return the names of the models that each of some suites and policies judges."""

    def lock(self, model: ModelId) -> None:
        """Keep others from adding jobs and versions to a model. Raises ModelNotFound."""

    def lock_all(self) -> Sequence[Model]:
        """Return all models, and keep others from adding versions to any."""

    def remove(self, model: ModelId) -> None:
        """Delete a locked model with its versions, aliases, their history, and its jobs."""

    def set_suites(self, model: ModelId, suites: Sequence[SuiteId]) -> None: ...

    def set_policy(self, model: ModelId, policy: PolicyId) -> None: ...


class Versions(Protocol):
    def next_number(self, model: ModelId) -> int:
        """Return the next version number, from a counter row that stays locked until commit."""

    def add(self, version: Version) -> None: ...

    def save(self, version: Version) -> None:
        """Update status, verdict and report of a version."""

    def remove(self, model: ModelId, number: int, at: datetime) -> None:
        """Delete a version, whose weights may be collected from now on.

        Its row stays, for the histories of aliases name it and its verdicts stay spent; nothing
        here returns it any more. Its exports are deleted too.
        """

    def release_weights(self, model: ModelId, number: int, at: datetime) -> None:
        """Record that a version's weights may be collected from now on, and delete its exports."""

    def mark(self, model: ModelId, number: int, erasure: ErasureId) -> None:
        """Record that images that a version learned from were erased, unless it is marked."""

    def replacement(self, model: ModelId, number: int) -> Version | None:
        """Return the newest version that replaces another one."""

    def get(self, model: ModelId, number: int, *, lock: bool = False) -> Version:
        """Return a version; `lock` keeps others from changing it before commit.

        Raises VersionNotFound, which says when a version was deleted.
        """

    def by_digest(self, model: ModelId, digest: Digest) -> Version:
        """Return the newest version with a digest. Raises VersionNotFound."""

    def page(self, model: ModelId, limit: int, after: int | None) -> Sequence[Version]:
        """Return a page of versions, oldest first."""

    def newest(self, model: ModelId) -> Version | None:
        """Return the version of a model with the highest number, or None without any."""

    def all(self, model: ModelId) -> Sequence[Version]: ...

    def numbers(self, model: ModelId, limit: int, after: int) -> Sequence[int]:
        """Return the numbers of a page of versions, oldest first."""

    def fit(self, model: ModelId, numbers: Collection[int]) -> Mapping[int, bool]:
        """Return whether each of some versions may be rolled back to without an override.

        Those that are deleted are left out. A version may not if the gate failed it, or if it
        learned from an image that was erased.
        """


class Aliases(Protocol):
    def get(self, model: ModelId, name: str, *, keep: bool = False) -> Alias:
        """Return an alias; `keep` keeps others from deleting it before commit.

        Raises AliasNotFound.
        """

    def find(self, model: ModelId, name: str, *, keep: bool = False) -> Alias | None: ...

    def lock(self, model: ModelId, name: str) -> Alias:
        """Return an alias to delete, once nobody keeps it. Raises AliasNotFound."""

    def all(self, *models: ModelId) -> Sequence[Alias]:
        """Return all aliases of some models, or of every model if none is given."""

    def move(self, alias: Alias, row: AliasMove) -> None:
        """Write the alias and its history row if the stored revision is `alias.revision - 1`.

        Raises StaleRevision otherwise.
        """

    def remove(self, row: AliasMove) -> None:
        """Delete a locked alias and write the last row of its history, which stays."""

    def last_revision(self, model: ModelId, name: str) -> int:
        """Return the revision of the last move of a name, 0 if there was none."""

    def history(self, model: ModelId, name: str, *, after: int = 0) -> Sequence[AliasMove]:
        """Return the moves of an alias after a revision, oldest first."""

    def newest_moves(self, model: ModelId, name: str, limit: int) -> Sequence[AliasMove]:
        """Return the newest moves of an alias, oldest first."""

    def kinds_of_moves(self, model: ModelId, name: str) -> Collection[MoveKind]:
        """Return the kinds of the moves that an alias has ever made."""

    def last_moves(self, *models: ModelId) -> Sequence[AliasMove]:
        """Return the move that each alias of some models is at, by model and name."""

    def overridden(self, model: ModelId) -> Collection[int]:
        """Return the versions that any alias of a model was moved to by override."""


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


class Trials(Protocol):
    def start(self, trial: Trial, alias: Alias) -> None:
        """Add a trial of an alias, which must not have moved since it was read.

        Raises StaleRevision, or TrialRunning if it has one that runs.
        """

    def get(self, trial: TrialId) -> Trial:
        """Return a trial. Raises TrialNotFound."""

    def find(self, model: ModelId, alias: str, reference: str) -> Trial:
        """Return an alias's trial by its id, or its newest as "latest". Raises TrialNotFound."""

    def page(self, model: ModelId, alias: str, limit: int, after: str | None) -> Sequence[Trial]:
        """Return a page of an alias's trials, oldest first."""

    def running(self, *models: ModelId) -> Sequence[Trial]:
        """Return the trials that run, of some models, or of every model if none is given."""

    def hold(self, trials: Collection[TrialId]) -> Mapping[TrialId, Trial]:
        """Return those of some trials that there are, and keep them from ending before commit."""

    def end(
        self, model: ModelId, alias: str, end: TrialEnd, *, by: str, now: datetime
    ) -> Trial | None:
        """End the trial that an alias has; return it, None if it has none that runs."""

    def counts(self, trials: Collection[TrialId]) -> Mapping[TrialId, TrialCounts]:
        """Return what the predictions of some trials add up to."""

    def count(self, trial: TrialId, counts: Mapping[str, int]) -> None:
        """Add to the counts of a trial, by names of `TrialCounts`."""

    def course(self, trials: Collection[TrialId]) -> Mapping[TrialId, Sequence[CoursePoint]]:
        """Return the points of some trials, by growing numbers of labels."""

    def note_course(self, points: Sequence[CoursePoint]) -> None:
        """Add points, but for those that are there."""


class Predictions(Protocol):
    def add(self, predictions: Sequence[Prediction]) -> Collection[PredictionId]:
        """Add predictions; return the ids of those that were not there yet."""

    def lock(self, ids: Collection[PredictionId]) -> Mapping[PredictionId, Prediction]:
        """Return predictions, and keep others from changing them before commit."""

    def save(self, predictions: Sequence[Prediction]) -> None:
        """Update labels and shadows' answers of locked predictions."""

    def first_labels(self, callers: Collection[Caller]) -> Collection[Caller]:
        """Keep that a label of these callers counts; return those without one until now."""

    def keep_newest(self, trial: TrialId, count: int) -> None:
        """Delete the predictions of a trial but for the newest ones."""

    def forget(self, before: datetime) -> None:
        """Delete predictions made before a moment, and all that ended trials need no more."""


class TrialSamples(Protocol):
    def add(self, sample: Sample) -> bool:
        """Add a sample; return whether the trial did not have the image yet."""

    def page(self, trial: TrialId, limit: int, after: Digest | None) -> Sequence[Sample]:
        """Return a page of a trial's samples, ordered by the digest of their pixels."""

    def get(self, trial: TrialId, pixels: Digest) -> Sample:
        """Return a sample. Raises ImageNotFound."""

    def holding(self, pixels: Collection[Digest]) -> Sequence[Sample]:
        """Return the samples of some images, of whatever trials."""

    def remove(self, trial: TrialId) -> int:
        """Delete the samples of a trial; return how many there were."""

    def erase(self, pixels: Collection[Digest]) -> None:
        """Delete the samples of some images, of whatever trials."""


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


class Vectors(Protocol):
    def put(self, stored: StoredVectors) -> None:
        """Store vectors in the place of those of the same images, if there are any."""

    def get(self, model: ModelId, version: int, dataset: DatasetRef) -> StoredVectors:
        """Return the vectors of a dataset version. Raises VectorsNotFound."""

    def all(self, model: ModelId, version: int) -> Sequence[StoredVectors]:
        """Return the vectors by a version, by dataset and dataset version."""

    def remove(self, model: ModelId, version: int, dataset: DatasetRef) -> None:
        """Delete vectors, whose bytes may be collected. Raises VectorsNotFound."""

    def remove_of(self, datasets: Collection[DatasetRef]) -> set[Digest]:
        """Delete the vectors of dataset versions by any version; return their files."""


class IndexReports(Protocol):
    def put(self, report: IndexReport) -> None:
        """Store a report in the place of the one about the same baseline, if there is one."""

    def get(self, model: ModelId, version: int, baseline: int) -> IndexReport:
        """Return the report about a baseline. Raises IndexReportNotFound."""

    def all(self, model: ModelId, version: int) -> Sequence[IndexReport]:
        """Return the reports of a version, by baseline."""

    def remove_of(self, sources: Collection[str]) -> set[Digest]:
        """Delete the reports that are based on any of some sources; return their files.

        A source is the id of a suite, or a dataset version: see `source_of`.
        """


# Ports for webhooks, the outbox of their deliveries, and what sends these.


class Webhooks(Protocol):
    def add(self, webhook: Webhook) -> None: ...

    def get(self, webhook: WebhookId, *, lock: bool = False) -> Webhook:
        """Return a webhook; `lock` keeps others from changing it before commit.

        Raises WebhookNotFound.
        """

    def page(self, limit: int, after: str | None) -> Sequence[Webhook]:
        """Return a page of webhooks, oldest first."""

    def save(self, webhook: Webhook) -> None:
        """Write a webhook as it is now."""

    def delete(self, webhook: WebhookId) -> None:
        """Delete a webhook and its deliveries. Raises WebhookNotFound."""


class Outbox(Protocol):
    def add(self, event: OutboxEvent) -> None:
        """Write a delivery of an event for each webhook that subscribes to it.

        Call it in the transaction of the change that the event reports, while the changed row is
        locked: events of one object are delivered in the order in which they were added.
        """

    def add_delivery(self, delivery: Delivery) -> None: ...

    def get(self, webhook: WebhookId, delivery: DeliveryId) -> Delivery:
        """Return a delivery of a webhook. Raises DeliveryNotFound."""

    def page(self, webhook: WebhookId, limit: int, after: str | None) -> Sequence[Delivery]:
        """Return a page of a webhook's deliveries, newest first."""

    def is_due(self, now: datetime) -> bool:
        """Return whether `claim` would find a delivery now (cheap)."""

    def claim(self, now: datetime, lease_s: float) -> Delivery | None:
        """Claim a due delivery by one conditional update; return None if there is none.

        A delivery is due if its webhook is not paused, its time has come and no earlier delivery of
        the same webhook and object is pending. A webhook has one claimed delivery at a time, and
        a claim expires after `lease_s` seconds by the database's clock. A claim increments fence
        and attempts.
        """

    def settle(self, delivery: Delivery) -> bool:
        """Write what came of an attempt if its fence still holds; return whether it does."""

    def redeliver(self, delivery: Delivery) -> None:
        """Write a delivery that is due again, whoever is sending it."""

    def forget(self, before: datetime) -> int:
        """Delete deliveries created before a time; return how many."""


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


class UnitOfWork(Protocol):
    """One transaction: entering begins it, `commit` ends it, leaving without it rolls back.

    The models and jobs that its principal may not touch are not there.
    """

    principal: Principal
    datasets: Datasets
    suites: Suites
    thumbnails: Thumbnails
    policies: Policies
    models: Models
    versions: Versions
    aliases: Aliases
    jobs: Jobs
    idempotency: Idempotency
    answers: AnswerCache
    references: ArtifactRoots
    keys: Keys
    sessions: Sessions
    audit: AuditTrail
    heartbeats: Heartbeats
    counters: Counters
    gauges: Gauges
    webhooks: Webhooks
    outbox: Outbox
    erasures: Erasures
    uploads: Uploads
    exports: Exports
    vectors: Vectors
    index_reports: IndexReports
    trials: Trials
    predictions: Predictions
    samples: TrialSamples

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
        """Return a transaction not yet begun; one that is `read_only` never waits for a writer."""

    def on_behalf_of(self, principal: Principal) -> Self:
        """Return what opens transactions of this principal; without it they are the service's."""


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


__all__ = [
    "Aliases",
    "AnswerCache",
    "ArchiveReader",
    "ArchivedFile",
    "ArtifactBatch",
    "ArtifactRoots",
    "ArtifactWriter",
    "Artifacts",
    "AuditFilter",
    "AuditTrail",
    "Buckets",
    "BytesCallback",
    "Caller",
    "ClassificationRequest",
    "Classifier",
    "Clock",
    "Counters",
    "DatasetUses",
    "Datasets",
    "DecodedImage",
    "Decoder",
    "Embedder",
    "Erasures",
    "Evaluator",
    "Exporter",
    "Exports",
    "FittedBridge",
    "Gauges",
    "Heartbeat",
    "Heartbeats",
    "HeldJob",
    "Idempotency",
    "IdempotentReply",
    "ImageWithThumbnail",
    "Importer",
    "IndexComparison",
    "IndexReports",
    "JobNotifier",
    "Jobs",
    "Keys",
    "Message",
    "Models",
    "Monitor",
    "NamedJob",
    "Outbox",
    "OutboxGauge",
    "Platform",
    "Policies",
    "Predictions",
    "PublicKey",
    "QueueGauge",
    "RunningGauge",
    "Samples",
    "Selection",
    "Sessions",
    "Signatures",
    "Signer",
    "SimilarImages",
    "Span",
    "SpanKind",
    "StoredArtifact",
    "Suites",
    "Thumbnails",
    "TokenVerifier",
    "Tracer",
    "Trained",
    "Trainer",
    "TrainingSpec",
    "Transactions",
    "TrialSamples",
    "Trials",
    "UnitOfWork",
    "Untraced",
    "Uploads",
    "Vectors",
    "Versions",
    "WebhookClient",
    "Webhooks",
    "ignore_bytes",
    "ignore_progress",
]
