"""Schemas of datasets, their versions, their images and what they are edited by."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Annotated

from fastapi import Path, Query
from pydantic import AliasPath, Field, StringConstraints

from api.http.schemas import BY_TEXT, ClassName, Name, Page, RequestModel, ResponseModel
from api.jobs.orders import Metadata
from core.database.work import Work
from core.datasets.changes import ChangeKind
from core.datasets.image_lists import NearDuplicates
from core.datasets.manifests import SPLIT_RULE
from core.datasets.rules import DatasetImage, DatasetKind
from core.datasets.thumbnail_rows import PlacedGroups
from core.datasets.uploads import UploadOutcome

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


class DatasetDetail(DatasetView):
    """A dataset with its image counts."""

    images: int = Field(examples=[2500])
    counts: dict[str, int] = Field(
        examples=[{"ankle boot": 250, "sandal": 250}],
        description="Images per class; empty for a captioned dataset.",
    )


# Of an image in a draft.
_SIDE = Field(
    examples=["train"],
    description="`train` or `holdout`; null until a frozen version has decided it, for ever. "
    f"{SPLIT_RULE}",
)


class SideCounts(ResponseModel):
    """Numbers of images on the two sides of every split."""

    train: int = Field(examples=[203])
    holdout: int = Field(examples=[47])


class StatisticsView(ResponseModel):
    """Counts of the present images of a dataset."""

    images: int = Field(examples=[500])
    sides: SideCounts = Field(description="About as a version frozen now would have them.")
    classes: dict[str, SideCounts] = Field(
        examples=[{"ankle boot": {"train": 203, "holdout": 47}}],
        description="By class; empty for a captioned dataset.",
    )
    near_duplicates: int = Field(description="Images that look like an older one.")
    near_duplicate_groups: int = Field(
        validation_alias="groups", description="Groups that list_near_duplicates lists."
    )
    duplicates: int = Field(
        description="Uploaded files of images that the dataset already had with the same text."
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
    side: str | None = _SIDE
    near_duplicate_of: str | None = Field(
        description="`pixels` of the older image that it looks like; both are on the same side."
    )
    error: ReceiptError | None


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

    pixels: str = Field(
        validation_alias=AliasPath("image", "pixels"), description="SHA-256 of the decoded pixels."
    )
    texts: list[str] = Field(
        examples=[["ankle boot"]], description="The image's class or captions."
    )
    file: str = Field(validation_alias="file_label", examples=["boot-1.jpg"])
    side: str | None = _SIDE
    near_duplicate_of: str | None = Field(
        validation_alias=AliasPath("image", "near_duplicate_of"),
        description="`pixels` of the older image that it looks like; both are on the same side.",
    )
    width: int = Field(validation_alias=AliasPath("image", "width"))
    height: int = Field(validation_alias=AliasPath("image", "height"))
    size: int = Field(
        validation_alias=AliasPath("image", "size"), description="Size of the stored form in bytes."
    )
    added_at: datetime


def image_views(work: Work, rows: Sequence[DatasetImage]) -> list[ImageView]:
    """Return the views of images, given one row for each of their texts, image by image."""
    images = [list(same) for _, same in groupby(rows, key=lambda row: row.image.pixels)]
    sides = work[PlacedGroups].sides({row.image.group for row in rows})
    return [
        ImageView.of(
            first, texts=[row.text for row in (first, *rest)], side=sides.get(first.image.group)
        )
        for first, *rest in images
    ]


class NearDuplicatesView(ResponseModel):
    """Images of a dataset that look alike; they are on the same side of every split."""

    group: str = Field(description="`pixels` of the oldest of them, maybe in another dataset.")
    count: int = Field(examples=[2], description="How many of them the dataset holds.")
    images: list[ImageView] = Field(description="The first 100 of those, by `pixels`.")


def near_duplicates_views(work: Work, groups: Iterable[NearDuplicates]) -> list[NearDuplicatesView]:
    """Return the views of groups."""
    return [NearDuplicatesView.of(one, images=image_views(work, one.rows)) for one in groups]


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
    digest: str = Field(
        validation_alias="manifest",
        description="SHA-256 of the manifest, which lists the images and texts.",
    )
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


class FrozenImageView(ResponseModel):
    """An image of a dataset version."""

    pixels: str = Field(description="SHA-256 of the decoded pixels.")
    texts: list[str] = Field(examples=[["ankle boot"]])
    side: str = Field(examples=["train"])
    near_duplicate_of: str | None


class ImageChangeView(ResponseModel):
    """An image that differs between two versions."""

    pixels: str
    change: ChangeKind = Field(validation_alias="kind")
    before: list[str] = Field(examples=[["boot"]], description="Its class or captions before.")
    after: list[str] = Field(examples=[["ankle boot"]])


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
