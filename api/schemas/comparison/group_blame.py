"""Schemas of the report of a blame: which images of an update cost a class its accuracy."""

from pydantic import Field

from api.schemas.common import ResponseModel
from core.domain.datasets.image_groups import Grouping


class ImageGroupView(ResponseModel):
    """Training images of an update that were left out together."""

    group: int = Field(examples=[1], description="Number of the group.")
    name: str = Field(
        examples=["upload 2026-11-26T20:10:03.120000Z"],
        description="The uploads by their time, or the classes, of which there may be several.",
    )
    images: int
    classes: dict[str, int] = Field(
        examples=[{"okapi": 12}], description="Number of images by class."
    )
    pixels: list[str] = Field(description="SHA-256 of each image's decoded pixels.")
    digest: str = Field(
        description="Digest of what was trained without the group. No version has it, and its "
        "weights are deleted by garbage collection."
    )


class GroupChangeView(ResponseModel):
    """The change of a class without a group. Fractions of 1."""

    group: int
    name: str
    right_before: int = Field(description="By the version itself.")
    right: int = Field(description="Without the group.")
    gained: int
    lost: int
    difference: float = Field(
        description="Accuracy without the group minus the version's, image by image."
    )
    lower: float
    upper: float
    clear: bool = Field(description="Whether the whole interval is above zero.")


class BlamedClass(ResponseModel):
    """A class, and its change without each group."""

    class_name: str = Field(alias="class", examples=["okapi"])
    images: int = Field(description="Test images of the class.")
    right: int = Field(description="Of them, by the version.")
    summary: str = Field(
        examples=[
            "Look at group 2 first: without 12 training images (upload 2026-11-26T20:10:03.120000Z)"
            ", 25 of 30 test images of 'okapi' are right instead of 12."
        ]
    )
    groups: list[GroupChangeView] = Field(description="The group to blame most comes first.")


class BlameReportView(ResponseModel):
    """The groups of images that an update was trained without, and what each of them changed."""

    model: str
    version: int
    digest: str
    parent: int
    by: Grouping
    asked: list[str] = Field(
        examples=[["unseen-emoji", "version 2"]],
        description="Suites, and `version 2` for the holdout of its update.",
    )
    alpha: float = Field(
        description="Error of the lower bounds of all groups of a class together, and of the upper "
        "bounds: the policy's. Each bound has its share of it."
    )
    exact: bool = Field(
        description="Whether all groups were trained in the version's own environment. Elsewhere, "
        "rounding alone makes a difference."
    )
    groups: list[ImageGroupView]
    classes: list[BlamedClass]
