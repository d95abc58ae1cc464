"""Schemas of the images that datasets and their versions hold."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Annotated, Self

from fastapi import Path, Query
from pydantic import Field

from api.schemas.common import ResponseModel
from core.domain.datasets.dataset import DatasetImage
from core.domain.datasets.manifest import ManifestEntry
from core.domain.datasets.near_duplicates import NearDuplicates
from core.domain.datasets.split import side_of

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
