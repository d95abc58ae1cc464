"""Datasets, their versions, and suites."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from core.errors import DatasetVersionReplaced, SuiteRetired
from core.outbox.rules import EventType, OutboxEvent
from core.recipes.fields import PromptTemplate
from core.values import DatasetId, Digest, JobId, ModelId, SuiteId, new_id

NOTHING_LEFT = 0  # in place of the number of the version that replaces another one
ERASED = "(erased)"  # in place of what was said of an image that was erased


class DatasetKind(StrEnum):
    """The meaning of the text beside an image."""

    LABELLED = "labelled"  # the class
    CAPTIONED = "captioned"  # one or more captions
    UNLABELLED = "unlabelled"  # none: every text is empty


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A named, growing collection of images with texts, which is frozen into versions."""

    id: DatasetId
    name: str
    kind: DatasetKind
    created_at: datetime
    description: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    duplicates: int = 0  # files sent of images that it had under the same text


@dataclass(frozen=True, kw_only=True)
class Image:
    """A stored image: `pixels` identifies its content, `artifact` its stored bytes."""

    pixels: Digest
    artifact: Digest
    width: int  # pixels
    height: int  # pixels
    size: int  # bytes
    near_duplicate_of: Digest | None = None  # the oldest image of its group; None if this is it

    @property
    def group(self) -> Digest:
        """The group of near-duplicates it belongs to, identified by the oldest image."""
        return self.near_duplicate_of or self.pixels


@dataclass(frozen=True, kw_only=True)
class DatasetImage:
    """An image in a dataset, with its class, or with one of its captions."""

    dataset: DatasetId
    image: Image
    text: str
    file_label: str
    added_at: datetime


@dataclass(frozen=True, kw_only=True)
class DatasetRef:
    """Names a dataset version."""

    dataset: DatasetId
    version: int


@dataclass(frozen=True, kw_only=True)
class DatasetVersion:
    """A frozen manifest of a dataset, numbered from 1."""

    dataset: DatasetId
    number: int
    manifest: Digest  # artifact with the manifest's JSON
    classes: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    images: int
    near_duplicates: int  # images with an older near-duplicate, on whose side they are
    created_at: datetime
    replaced_by: int | None = None  # a version without its erased images, or NOTHING_LEFT

    def require_whole(self) -> None:
        """Raise DatasetVersionReplaced if images of this version were erased."""
        if self.replaced_by is not None:
            left = f"use version {self.replaced_by}" if self.replaced_by else "none is left"
            raise DatasetVersionReplaced(
                f"Images of version {self.number} were erased: {left}.",
                dataset=self.dataset,
                version=self.number,
                replaced_by=self.replaced_by,
            )

    @property
    def training_images(self) -> int:
        """The number of images on the training side."""
        return sum(sides["train"] for sides in self.counts.values())


# Suites: the images and queries on which every version of a model is scored.


class SuiteKind(StrEnum):
    """The kinds of suites."""

    ZERO_SHOT = "zero_shot"  # which of the suite's classes is this image?
    RETRIEVAL = "retrieval"  # which caption belongs to this image, and the reverse?
    UNLABELLED = "unlabelled"  # as zero-shot, with labels only where two versions disagree

    @property
    def dataset_kind(self) -> DatasetKind:
        """The kind of dataset that such a suite is made from."""
        return _MADE_FROM[self]


_MADE_FROM = {
    SuiteKind.ZERO_SHOT: DatasetKind.LABELLED,
    SuiteKind.RETRIEVAL: DatasetKind.CAPTIONED,
    SuiteKind.UNLABELLED: DatasetKind.UNLABELLED,
}


def lineage_of(suite: SuiteId) -> SuiteId:
    """Return the id of a suite's first edition, to which later ones add their number."""
    return SuiteId(suite.partition("-")[0])


@dataclass(frozen=True, kw_only=True)
class Suite:
    """An edition of a suite, which never changes: one with more images is its next edition.

    A suite that was retired judges no model any more, and its images may be trained on.
    """

    id: SuiteId
    name: str  # of all editions
    kind: SuiteKind
    manifest: Digest  # artifact with the manifest's JSON
    source: Digest  # manifest of the dataset version whose images it was made of, or got
    classes: tuple[str, ...]  # empty for retrieval
    images: int
    prompt: PromptTemplate  # unused for retrieval, where captions are the texts
    mirror: bool  # whether a mirror image shows the same: not with letters, or a left and a right
    created_at: datetime
    grown_into: SuiteId | None = None  # the next edition, which judges in its place
    model: ModelId | None = None  # whose holdout its images join; None: it is a suite of its own
    version: int | None = None  # that holds them out, with `model`
    retired_at: datetime | None = None

    @property
    def edition(self) -> int:
        """The number of the edition; the first is 1."""
        return int(self.id.partition("-")[2] or 1)

    def require_in_use(self) -> None:
        """Raise SuiteRetired if it judges nothing any more."""
        if self.retired_at is not None:
            raise SuiteRetired(
                f"The suite {self.name!r} was retired: it judges no model any more.", suite=self.id
            )

    @property
    def title(self) -> str:
        """Its name in a sentence: "suite shelf", or "holdout of demo:2"."""
        return f"suite {self.name}" if self.model is None else self.name

    def next_edition(
        self, *, manifest: Digest, source: Digest, images: int, now: datetime
    ) -> "Suite":
        """Return the edition that takes the place of this one, with more images."""
        number = SuiteId(f"{lineage_of(self.id)}-{self.edition + 1}")
        return replace(
            self, id=number, manifest=manifest, source=source, images=images, created_at=now
        )


# The event that webhooks receive.


def dataset_frozen(version: DatasetVersion) -> OutboxEvent:
    """Return the event of a dataset version."""
    path = f"/v1/datasets/{version.dataset}"
    return OutboxEvent(
        id=new_id("evt", version.created_at),
        type=EventType.DATASET_FROZEN,
        object=version.dataset,
        model=None,
        data={
            "dataset": version.dataset,
            "dataset_version": version.number,
            "links": {"dataset": path, "dataset_version": f"{path}/versions/{version.number}"},
        },
        at=version.created_at,
    )


@dataclass(frozen=True, kw_only=True)
class DatasetUses:
    """The versions, suites and jobs that need a dataset version."""

    versions: Sequence[str]  # that learned from it, also elsewhere, as "model:number"
    suites: Sequence[str]  # names of those that were made of it
    jobs: Sequence[JobId]  # unfinished
    replaced: Sequence[int]  # versions of the dataset that it stands for since images were erased
