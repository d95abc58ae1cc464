"""Jobs, their progress and their events."""

from typing import Any, Literal, TypedDict

from perennial.types.evaluation.blames import BlameOrder
from perennial.types.vectors import JobComparison, JobVectors

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
