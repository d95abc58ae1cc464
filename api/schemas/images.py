"""Schemas of the images of datasets: lists, edits, differences and counts."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Annotated, Self

from fastapi import Path, Query
from pydantic import Field

from api.schemas.common import Page, RequestModel, ResponseModel
from core.domain.datasets import diff
from core.domain.datasets.dataset import DatasetImage
from core.domain.datasets.manifest import ManifestEntry
from core.domain.datasets.near_duplicates import NearDuplicates
from core.domain.datasets.split import Side, side_of
from core.domain.datasets.statistics import DatasetStatistics

_DIGEST = "^[0-9a-f]{64}$"
_SHOWN = "1bd6b4e4b2d3a5c7f90812a4c6e8d0b2f4a6c8e0d2b4f6a8c0e2d4b6f8a0c2e4"
Pixels = Annotated[str, Path(pattern=_DIGEST, description="SHA-256 of the image's decoded pixels.")]
OfClass = Annotated[
    str | None,
    Query(alias="class", max_length=500, description="Only images of this class or caption."),
]


class ImageView(ResponseModel):
    """An image of a dataset."""

    pixels: str = Field(description="SHA-256 of the decoded pixels.")
    texts: list[str] = Field(
        examples=[["ankle boot"]], description="The image's class or captions."
    )
    file: str = Field(examples=["boot-1.jpg"])
    side: str = Field(examples=["train"])
    near_duplicate_of: str | None = Field(
        description="`pixels` of the older image that it looks like; both are on the same side."
    )
    width: int
    height: int
    size: int = Field(description="Size of the stored form in bytes.")
    added_at: datetime

    @classmethod
    def of(cls, rows: Sequence[DatasetImage]) -> Self:
        """Return the view of an image, given one row for each of its texts."""
        row = rows[0]
        return cls(
            pixels=row.image.pixels,
            texts=[row.text for row in rows],
            file=row.file_label,
            side=side_of(row.image.group).value,
            near_duplicate_of=row.image.near_duplicate_of,
            width=row.image.width,
            height=row.image.height,
            size=row.image.size,
            added_at=row.added_at,
        )


class FrozenImageView(ResponseModel):
    """An image of a dataset version."""

    pixels: str = Field(description="SHA-256 of the decoded pixels.")
    texts: list[str] = Field(examples=[["ankle boot"]])
    side: str = Field(examples=["train"])
    near_duplicate_of: str | None

    @classmethod
    def of(cls, entry: ManifestEntry) -> Self:
        """Return the view of a line of a manifest."""
        return cls(
            pixels=entry.pixels,
            texts=list(entry.texts),
            side=entry.side.value,
            near_duplicate_of=entry.near_duplicate_of,
        )


class NearDuplicatesView(ResponseModel):
    """Images of a dataset that look alike; they are on the same side of every split."""

    group: str = Field(description="`pixels` of the oldest of them, maybe in another dataset.")
    count: int = Field(examples=[2], description="How many of them the dataset holds.")
    images: list[ImageView] = Field(description="The first 100 of those, by `pixels`.")

    @classmethod
    def of(cls, found: NearDuplicates) -> Self:
        """Return the view of a group."""
        images = groupby(found.rows, key=lambda row: row.image.pixels)
        return cls(
            group=found.group,
            count=found.count,
            images=[ImageView.of(list(same)) for _, same in images],
        )


class ClassChange(RequestModel):
    """A new name of a class."""

    name: str = Field(max_length=500, examples=["ankle boot"])
    merge: bool = Field(
        False, description="Whether its images may join those of a class that has the name."
    )


class ClassView(ResponseModel):
    """A class of a dataset."""

    name: str = Field(alias="class", examples=["ankle boot"])
    images: int = Field(examples=[250])


class Moves(RequestModel):
    """Images to move to a class."""

    name: str = Field(alias="class", max_length=500, examples=["ankle boot"])
    images: list[Annotated[str, Field(pattern=_DIGEST)]] = Field(
        min_length=1, max_length=1000, examples=[[_SHOWN]], description="`pixels` of the images."
    )


class MovedView(ResponseModel):
    """The outcome of moving images."""

    name: str = Field(alias="class", examples=["ankle boot"])
    moved: int = Field(examples=[3], description="Images that were in another class before.")


class SideCounts(ResponseModel):
    """Numbers of images on the two sides of every split."""

    train: int = Field(examples=[203])
    holdout: int = Field(examples=[47])


class StatisticsView(ResponseModel):
    """Counts of the present images of a dataset."""

    images: int = Field(examples=[500])
    sides: SideCounts
    classes: dict[str, SideCounts] = Field(
        examples=[{"ankle boot": {"train": 203, "holdout": 47}}],
        description="By class; empty for a captioned dataset.",
    )
    near_duplicates: int = Field(description="Images that look like an older one.")
    near_duplicate_groups: int = Field(description="Groups that list_near_duplicates lists.")
    duplicates: int = Field(
        description="Uploaded files of images that the dataset already had with the same text."
    )

    @classmethod
    def of(cls, counted: DatasetStatistics, *, duplicates: int) -> Self:
        """Return the view of the statistics of a dataset."""
        return cls(
            images=counted.images,
            sides=_sides(counted.sides[Side.TRAIN], counted.sides[Side.HOLDOUT]),
            classes={
                name: _sides(sides[Side.TRAIN], sides[Side.HOLDOUT])
                for name, sides in counted.classes.items()
            },
            near_duplicates=counted.near_duplicates,
            near_duplicate_groups=counted.groups,
            duplicates=duplicates,
        )


class ImageChangeView(ResponseModel):
    """An image that differs between two versions."""

    pixels: str
    change: diff.ChangeKind
    before: list[str] = Field(examples=[["boot"]], description="Its class or captions before.")
    after: list[str] = Field(examples=[["ankle boot"]])

    @classmethod
    def of(cls, change: diff.Change) -> Self:
        """Return the view of a change."""
        return cls(
            pixels=change.pixels,
            change=change.kind,
            before=list(change.before),
            after=list(change.after),
        )


class ClassDiffView(ResponseModel):
    """Numbers of images that a class gained and lost."""

    added: int
    removed: int
    moved_in: int
    moved_out: int


class DiffView(Page[ImageChangeView]):
    """The difference between two versions of a dataset, with a page of the changed images."""

    version: int = Field(examples=[2])
    against: int = Field(examples=[1])
    added: int
    removed: int
    moved: int = Field(description="Images with another class, or with other captions.")
    classes: dict[str, ClassDiffView] = Field(
        description="Classes with a change; empty for a captioned dataset."
    )

    @classmethod
    def of(
        cls, found: diff.Diff, page: Page[ImageChangeView], *, version: int, against: int
    ) -> Self:
        """Return the view of a difference."""
        return cls(
            data=page.data,
            has_more=page.has_more,
            next=page.next,
            version=version,
            against=against,
            added=found.counts[diff.ChangeKind.ADDED],
            removed=found.counts[diff.ChangeKind.REMOVED],
            moved=found.counts[diff.ChangeKind.MOVED],
            classes={name: ClassDiffView(**vars(one)) for name, one in found.classes.items()},
        )


def _sides(train: int, holdout: int) -> SideCounts:
    return SideCounts(train=train, holdout=holdout)
