"""Schemas of datasets, their versions, their images and what they are edited by."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Annotated, Self

from fastapi import Path, Query
from pydantic import Field, StringConstraints

from api.http.schemas import BY_TEXT, ClassName, Name, Page, RequestModel, ResponseModel
from api.jobs.orders import Metadata
from core.datasets import manifests
from core.datasets.image_lists import NearDuplicates
from core.datasets.manifests import DatasetStatistics, ManifestEntry, Side, side_of
from core.datasets.rules import Dataset, DatasetImage, DatasetKind, DatasetVersion
from core.datasets.uploads import Receipt, UploadOutcome

Description = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=2000), Field(examples=["Autumn shoes"])
]


class NewDataset(RequestModel):
    """A dataset to create."""

    name: Name = Field(examples=["products"])
    kind: Annotated[DatasetKind, BY_TEXT] = DatasetKind.LABELLED
    description: Description = ""
    metadata: Metadata = Field(default_factory=dict)


class DatasetChange(RequestModel):
    """A new description or metadata; absent fields do not change."""

    description: Description | None = None
    metadata: Metadata | None = None


class DatasetView(ResponseModel):
    """A dataset."""

    id: str = Field(examples=["ds_0199c2a4e1b7d3f4a5b6c7d8e9f0"])
    name: str = Field(examples=["products"])
    kind: DatasetKind
    description: str = Field(examples=["Autumn shoes"])
    metadata: dict[str, str] = Field(examples=[{"ticket": "SHOP-17"}])
    created_at: datetime

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """Return the view of a dataset."""
        return cls(
            id=dataset.id,
            name=dataset.name,
            kind=dataset.kind,
            description=dataset.description,
            metadata=dict(dataset.metadata),
            created_at=dataset.created_at,
        )


class DatasetDetail(DatasetView):
    """A dataset with its image counts."""

    images: int = Field(examples=[2500])
    counts: dict[str, int] = Field(
        examples=[{"ankle boot": 250, "sandal": 250}],
        description="Images per class; empty for a captioned dataset.",
    )


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


# Uploads.


class ReceiptError(ResponseModel):
    """The reason why a file was not accepted."""

    code: str = Field(examples=["image_corrupt"])
    detail: str = Field(examples=["The image is damaged or truncated."])


class ReceiptView(ResponseModel):
    """The outcome of one uploaded file."""

    file: str = Field(examples=["boot-1.jpg"], description="The file name, without its path.")
    text: str = Field(examples=["ankle boot"], description="The image's class or caption.")
    outcome: UploadOutcome
    pixels: str | None = Field(description="SHA-256 of the decoded pixels.")
    side: str | None = Field(examples=["train"])
    near_duplicate_of: str | None = Field(
        description="`pixels` of the older image that it looks like; both are on the same side."
    )
    error: ReceiptError | None

    @classmethod
    def of(cls, receipt: Receipt) -> Self:
        """Return the view of a receipt."""
        return cls.model_validate(receipt.to_json())


class UploadView(ResponseModel):
    """One receipt per file, in the order the files were sent."""

    data: list[ReceiptView]


# Images.

DIGEST = "^[0-9a-f]{64}$"
Pixels = Annotated[str, Path(pattern=DIGEST, description="SHA-256 of the image's decoded pixels.")]
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


# Classes.


class ClassChange(RequestModel):
    """A new name of a class."""

    name: ClassName = Field(examples=["ankle boot"])
    merge: bool = Field(
        False, description="Whether its images may join those of a class that has the name."
    )


class ClassView(ResponseModel):
    """A class of a dataset."""

    name: str = Field(alias="class", examples=["ankle boot"])
    images: int = Field(examples=[250])


_SHOWN = "1bd6b4e4b2d3a5c7f90812a4c6e8d0b2f4a6c8e0d2b4f6a8c0e2d4b6f8a0c2e4"


class Moves(RequestModel):
    """Images to move to a class."""

    name: ClassName = Field(alias="class", examples=["ankle boot"])
    images: list[Annotated[str, Field(pattern=DIGEST)]] = Field(
        min_length=1, max_length=1000, examples=[[_SHOWN]], description="`pixels` of the images."
    )


class MovedView(ResponseModel):
    """The outcome of moving images."""

    name: str = Field(alias="class", examples=["ankle boot"])
    moved: int = Field(examples=[3], description="Images that were in another class before.")


# Versions.


class NewDatasetVersion(RequestModel):
    """An empty object: a version always holds all present images of the dataset."""


class DatasetVersionView(ResponseModel):
    """A version of a dataset, which never changes."""

    dataset: str
    number: int = Field(examples=[1])
    digest: str = Field(description="SHA-256 of the manifest, which lists the images and texts.")
    classes: list[str]
    counts: dict[str, dict[str, int]] = Field(
        examples=[{"ankle boot": {"train": 203, "holdout": 47}}]
    )
    images: int
    near_duplicates: int = Field(
        description="Images that look like an older one; each is on the same side as that image."
    )
    replaced_by: int | None = Field(
        description="If images of it were erased: the version with the others, which updates use "
        "instead; 0: none is left. Null otherwise."
    )
    created_at: datetime

    @classmethod
    def of(cls, version: DatasetVersion) -> Self:
        """Return the view of a dataset version."""
        return cls(
            dataset=version.dataset,
            number=version.number,
            digest=version.manifest,
            classes=list(version.classes),
            counts={name: dict(sides) for name, sides in version.counts.items()},
            images=version.images,
            near_duplicates=version.near_duplicates,
            replaced_by=version.replaced_by,
            created_at=version.created_at,
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


class ImageChangeView(ResponseModel):
    """An image that differs between two versions."""

    pixels: str
    change: manifests.ChangeKind
    before: list[str] = Field(examples=[["boot"]], description="Its class or captions before.")
    after: list[str] = Field(examples=[["ankle boot"]])

    @classmethod
    def of(cls, change: manifests.Change) -> Self:
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
        cls, found: manifests.Diff, page: Page[ImageChangeView], *, version: int, against: int
    ) -> Self:
        """Return the view of a difference."""
        return cls(
            data=page.data,
            has_more=page.has_more,
            next=page.next,
            version=version,
            against=against,
            added=found.counts[manifests.ChangeKind.ADDED],
            removed=found.counts[manifests.ChangeKind.REMOVED],
            moved=found.counts[manifests.ChangeKind.MOVED],
            classes={name: ClassDiffView(**vars(one)) for name, one in found.classes.items()},
        )
