"""Datasets, their versions and images, suites, policies, uploads and erasures."""

from typing import Literal, NotRequired, TypedDict

DatasetKind = Literal["labelled", "captioned"]
UploadOutcome = Literal["created", "duplicate", "label_conflict", "rejected"]


class Dataset(TypedDict):
    """A dataset."""

    id: str
    name: str
    kind: DatasetKind
    description: str
    metadata: dict[str, str]
    created_at: str


class DatasetDetail(Dataset):
    """A dataset with its image counts."""

    images: int
    counts: dict[str, int]  # by class; empty for a captioned dataset


class ReceiptError(TypedDict):
    """The reason why a file was not accepted."""

    code: str
    detail: str


class Receipt(TypedDict):
    """The outcome of one uploaded file."""

    file: str
    text: str  # class or caption
    outcome: UploadOutcome
    pixels: str | None  # SHA-256 of the decoded pixels
    side: str | None
    near_duplicate_of: str | None  # pixels of an older image
    error: ReceiptError | None


class DatasetVersion(TypedDict):
    """A version of a dataset, which never changes."""

    dataset: str
    number: int
    digest: str
    classes: list[str]
    counts: dict[str, dict[str, int]]  # by class and side
    images: int
    near_duplicates: int
    replaced_by: int | None  # the version without erased images, 0: none is left
    created_at: str


# Erasures of images and their certificates.

ErasureStatus = Literal["erasing", "failed", "retraining", "incomplete", "done"]
Retraining = Literal["all", "aliased", "none"]
Exposure = Literal["taught", "distilled", "chosen", "inherited"]


class MarkedVersion(TypedDict):
    """A version that learned from erased images."""

    model: str
    version: int
    learned: Exposure
    replaced_by: int | None
    waits: bool
    obstacle: str | None


class MarkedAlias(TypedDict):
    """An alias that still points at a marked version."""

    model: str
    alias: str
    version: int


class Erasure(TypedDict):
    """An erasure and how far it has come."""

    id: str
    status: ErasureStatus
    images: list[str]
    reason: str
    retrain: Retraining
    ordered_by: str
    job: str
    created_at: str
    erased_at: str | None
    versions: list[MarkedVersion]
    aliases: list[MarkedAlias]
    links: dict[str, str]


class ErasedImage(TypedDict):
    """An erased image."""

    pixels: str
    stored_as: list[str]
    in_store: bool


class ReplacedDatasetVersion(TypedDict):
    """A dataset version that held erased images."""

    dataset: str
    version: int
    removed: int
    replaced_by: int  # 0: none is left


class ReplacedVersion(TypedDict):
    """A version that learned from erased images, and what replaces it."""

    model: str
    version: int
    learned: Exposure
    digest: str
    exports: list[str]  # formats of those that are stored now
    environment: dict[str, str] | None
    replaced_by: int | None
    digest_after: str | None
    environment_after: dict[str, str] | None
    exact: bool | None
    obstacle: str | None


class Remainder(TypedDict):
    """A place that the service cannot reach, and the copies that may be there."""

    where: str
    what: str


class Certificate(TypedDict):
    """A certificate: the images taken back, versions and their replacements, and what remains."""

    erasure: str
    status: ErasureStatus
    reason: str
    ordered_by: str
    ordered_at: str
    erased_at: str
    images: list[ErasedImage]
    drafts: list[str]
    dataset_versions: list[ReplacedDatasetVersion]
    suites: list[str]
    near_duplicates: list[str]
    trials: list[str]  # that had kept one of the images as a sample
    versions: list[ReplacedVersion]
    aliases: list[MarkedAlias]
    remains: list[Remainder]
    exactness: str


# Suites and gate policies, by which versions are judged.

SuiteKind = Literal["zero_shot", "retrieval"]


class Suite(TypedDict):
    """A suite, which never changes."""

    id: str
    name: str
    kind: SuiteKind
    digest: str
    classes: list[str]
    images: int
    prompt: str
    created_at: str


class Policy(TypedDict):
    """A gate policy, which never changes. Tolerances are fractions of 1."""

    id: str
    name: str
    parent_tolerance: NotRequired[float]
    root_tolerance: NotRequired[float]
    holdout_tolerance: NotRequired[float]
    wanted_gain: NotRequired[float]
    minimum_count: NotRequired[int]
    alpha: NotRequired[float]
    line_error: NotRequired[float | None]
    line_updates: NotRequired[int]
    negative_flips: NotRequired[float | None]
    reason: NotRequired[str]
    created_at: str


# The images of datasets: lists, classes, counts, differences and uploads of archives.

ChangeKind = Literal["added", "removed", "moved"]

# A class of a dataset.
Class = TypedDict("Class", {"class": str, "images": int})

# The outcome of moving images.
Moved = TypedDict("Moved", {"class": str, "moved": int})


class Image(TypedDict):
    """An image of a dataset."""

    pixels: str  # SHA-256 of the decoded pixels
    texts: list[str]  # the class or the captions
    file: str
    side: str
    near_duplicate_of: str | None  # pixels of an older image
    width: int
    height: int
    size: int  # bytes of the stored form
    added_at: str


class FrozenImage(TypedDict):
    """An image of a dataset version."""

    pixels: str
    texts: list[str]
    side: str
    near_duplicate_of: str | None


class NearDuplicates(TypedDict):
    """Images of a dataset that look alike."""

    group: str  # pixels of the oldest, maybe in another dataset
    count: int  # of images in the dataset
    images: list[Image]  # the first 100 of them, by pixels


class SideCounts(TypedDict):
    """Numbers of images on the two sides of every split."""

    train: int
    holdout: int


class Statistics(TypedDict):
    """Counts of the present images of a dataset."""

    images: int
    sides: SideCounts
    classes: dict[str, SideCounts]  # empty for a captioned dataset
    near_duplicates: int
    near_duplicate_groups: int
    duplicates: int  # files sent again


class ImageChange(TypedDict):
    """An image that differs between two versions."""

    pixels: str
    change: ChangeKind
    before: list[str]  # its class or captions; empty if it was not there
    after: list[str]


class ClassDiff(TypedDict):
    """Numbers of images that a class gained and lost."""

    added: int
    removed: int
    moved_in: int
    moved_out: int


class Diff(TypedDict):
    """The difference between two versions of a dataset."""

    data: list[ImageChange]
    has_more: NotRequired[bool]
    next: NotRequired[str | None]
    version: int
    against: int
    added: int
    removed: int
    moved: int
    classes: dict[str, ClassDiff]


class UploadProgress(TypedDict):
    """A resumable upload."""

    id: str
    length: int  # bytes
    offset: int  # bytes that have arrived
    created_at: str
    expires_at: str
