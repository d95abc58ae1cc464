"""Schemas of datasets, their versions and uploads."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field, StringConstraints

from api.schemas.common import BY_TEXT, Name, RequestModel, ResponseModel
from api.schemas.jobs.orders import Metadata
from core.domain.datasets.dataset import Dataset, DatasetKind, DatasetVersion
from core.use_cases.datasets.datasets import Receipt, UploadOutcome

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


class NewDatasetVersion(RequestModel):
    """An empty object: a version always holds all present images of the dataset."""


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
