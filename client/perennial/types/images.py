"""The images of datasets: lists, classes, counts, differences and uploads of archives."""

from typing import Literal, NotRequired, TypedDict

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
