"""Datasets, their versions and the receipts of uploads."""

from typing import Literal, TypedDict

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
