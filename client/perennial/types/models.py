"""Models, versions, aliases, jobs, advice, exports and bundles."""

from typing import Any, Literal, TypedDict

from perennial.types.comparison import BlameOrder
from perennial.types.datasets import Dataset, DatasetVersion, Receipt
from perennial.types.evaluation import Verdict
from perennial.types.serving import JobComparison, JobVectors

# Jobs, their progress and their events.

JobType = Literal[
    "import",
    "update",
    "evaluate",
    "import_images",
    "erase",
    "blame",
    "export",
    "import_version",
    "compare_index",
    "reembed",
]

JobStatus = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]
ExportFormat = Literal["open_clip", "huggingface", "onnx", "onnx_int8", "bundle"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]


class ReferenceSet(TypedDict):
    """A captioned or labelled dataset version whose images method 'zscl' distils."""

    dataset: str
    version: int


class DatasetVersionRef(TypedDict):
    """A reference to a dataset version."""

    dataset: str
    version: int


class Progress(TypedDict):
    """Progress of a job within its phase."""

    step: int
    total: int
    eta_s: float | None
    terms: dict[str, float]  # of the last training step


class Import(TypedDict):
    """The archive or the objects that an import of images reads, and its dataset."""

    dataset: str  # id
    archive: str  # SHA-256 of the archive, or of the list of objects
    format: Literal["zip", "tar", "tar.gz", "s3"]
    bytes: int  # of the archive, or of all objects
    source: str | None  # where objects lie, as s3://bucket/prefix/
    validate_only: bool


class JobExport(TypedDict):
    """The version that an export writes, and in which format."""

    version: int
    format: ExportFormat


class JobBundle(TypedDict):
    """The bundle that an import of a version reads."""

    archive: str  # SHA-256
    bytes: int
    digest: str  # of the version that it holds


class Job(TypedDict):
    """A job."""

    id: str
    type: JobType
    status: JobStatus
    done: bool
    phase: str
    progress: Progress
    model: str | None  # None: the job belongs to no model
    parent_version: int | None
    parent_digest: str | None
    dataset_version: DatasetVersionRef | None
    images: Import | None  # of an import of images
    blame: BlameOrder | None
    export: JobExport | None  # of an export
    bundle: JobBundle | None  # of an import of a version
    comparison: JobComparison | None  # of a comparison with an old index
    vectors: JobVectors | None  # of a re-embedding
    recipe: dict[str, Any] | None
    precision: Precision | None
    reference: DatasetVersionRef | None
    priority: int
    attempt: int
    retry_of: str | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    metadata: dict[str, str]
    links: dict[str, str]


class Event(TypedDict):
    """An event in a job's history."""

    id: int  # sequence number within the job, from 1
    kind: str
    data: dict[str, Any]
    at: str


# Advice on an update before it is ordered.

Severity = Literal["info", "warning"]


class Finding(TypedDict):
    """Something to consider before an update is ordered."""

    code: str
    severity: Severity
    message: str
    facts: dict[str, Any]


class ClassAdvice(TypedDict):
    """The numbers of one class."""

    name: str
    train: int  # training images
    holdout: int
    test: int  # images of the holdout that the verdict is based on
    asked: int | None  # images that the parent was asked about
    recognised: int | None  # those of them that it recognised


class Advice(TypedDict):
    """Advice on an update that could start."""

    model: str
    parent_version: int | None
    dataset_version: DatasetVersionRef
    recipe: dict[str, Any]
    classes: list[ClassAdvice]
    steps: int
    expected_s: float | None  # None: unknown
    findings: list[Finding]


# Aliases and their moves.

MoveKind = Literal["created", "promoted", "rolled_back", "deleted"]


class Alias(TypedDict):
    """An alias and the version that it points at."""

    model: str
    alias: str
    version: int
    digest: str
    revision: int  # increases with every move
    updated_at: str


class Move(TypedDict):
    """A move of an alias."""

    revision: int
    kind: MoveKind
    from_version: int | None
    to_version: int  # 0: the alias was deleted
    reason: str
    actor: str
    at: str
    override: bool


# Bundles of versions.


class SigningKey(TypedDict):
    """The public half of the key that signs a service's bundles."""

    algorithm: str
    key_id: str  # SHA-256 of the SubjectPublicKeyInfo
    public_key: str  # SubjectPublicKeyInfo in base64
    pem: str


class OriginDocument(TypedDict):
    """The statement of the bundle that a version was imported from."""

    model: str
    line: list[dict[str, Any]]  # root first; the last is the version
    suites: list[dict[str, Any]]
    policy: dict[str, Any]
    reports: dict[str, dict[str, Any]]  # by version there
    links: dict[str, str]


# Exports of versions.


class Export(TypedDict):
    """The export of a version in a format."""

    model: str
    version: int
    format: ExportFormat
    artifact: str  # SHA-256 of the tar
    size: int  # bytes
    check: dict[str, Any]  # the smallest cosines between features of the version and of the files
    job: str
    created_at: str
    links: dict[str, str]


# Models and the classes that they have learned.


class Model(TypedDict):
    """A model."""

    id: str
    name: str
    suites: list[str]
    policy: str
    aliases: dict[str, int]  # versions by alias
    created_at: str


# A class and the version that last learned it.
LearnedClass = TypedDict("LearnedClass", {"class": str, "version": int})


class Learned(TypedDict):
    """The classes that the version of an alias has learned."""

    model: str
    version: int
    digest: str
    data: list[LearnedClass]


class Start(TypedDict):
    """The job, dataset version and receipts of one call that teaches classes."""

    job: Job
    dataset: Dataset
    dataset_version: DatasetVersion
    files: list[Receipt]


# Versions of a model.

VersionStatus = Literal["candidate", "rejected", "promoted"]


class Origin(TypedDict):
    """The version of another service that a version was imported as."""

    model: str  # its name there
    version: int  # its number there
    signed_by: str  # the trusted key's name
    key_id: str
    bundle: str  # SHA-256


class Version(TypedDict):
    """A version of a model."""

    model: str
    version: int
    status: VersionStatus
    verdict: Verdict | None
    overridden: bool
    digest: str
    size: int  # bytes of all tensors
    parent: int | None
    job: str
    recipe: dict[str, Any] | None
    dataset: str | None
    dataset_version: int | None
    update_classes: list[str]
    classes: list[str]
    prompt: str
    environment: dict[str, str]
    environments: list[dict[str, str]]
    exact: bool | None
    reference: DatasetVersionRef | None
    notes: dict[str, Any]
    created_at: str
    collected_at: str | None
    erasure: str | None
    replaces: int | None
    imported_from: Origin | None
    links: dict[str, str]
