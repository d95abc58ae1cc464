"""Schemas of a dataset's counts, and of the differences between its versions."""

from collections.abc import Mapping
from typing import Self

from pydantic import Field

from api.schemas.common import Page, ResponseModel
from core.domain.datasets import diff
from core.domain.datasets.split import Side
from core.domain.datasets.statistics import DatasetStatistics


class SideCounts(ResponseModel):
    """Numbers of images on the two sides of every split."""

    train: int = Field(examples=[203])
    holdout: int = Field(examples=[47])

    @classmethod
    def of(cls, counts: Mapping[Side, int]) -> Self:
        """Return the view of the numbers of both sides."""
        return cls(train=counts[Side.TRAIN], holdout=counts[Side.HOLDOUT])


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
            sides=SideCounts.of(counted.sides),
            classes={name: SideCounts.of(sides) for name, sides in counted.classes.items()},
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
