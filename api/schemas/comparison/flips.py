"""Schemas of flips: images that one of two versions answered right and the other wrong."""

from typing import Annotated, Self

from fastapi import Query
from pydantic import Field

from api.schemas.common import Page, ResponseModel
from core.domain.comparison.flips import Flip, FlipKind
from core.domain.registry.version import Version
from core.errors import FieldInvalid

Against = Annotated[
    str,
    Query(
        pattern=r"^(parent|root|[1-9][0-9]{0,8})$",
        description="The version to compare with: `parent`, `root` or a number.",
    ),
]
SuiteName = Annotated[
    str | None,
    Query(
        max_length=100,
        description="A suite, or `version 2` for the holdout of its update, as in reports.",
    ),
]
OptionalClass = Annotated[str | None, Query(alias="class", max_length=100)]
AfterFlip = Annotated[
    str | None,
    Query(
        max_length=200,
        description="The `next` of the previous page.",
        json_schema_extra={"pattern": ":"},
    ),
]


class VersionRef(ResponseModel):
    """A version by its number and digest."""

    version: int = Field(examples=[3])
    digest: str

    @classmethod
    def of(cls, version: Version) -> Self:
        """Return the reference to a version."""
        return cls(version=version.number, digest=version.digest)


class FlipView(ResponseModel):
    """An image that one of two versions answered right and the other wrong."""

    kind: FlipKind = Field(description="`lost`: right before and wrong now. `gained`: the reverse.")
    suite: str = Field(
        examples=["unseen-emoji"],
        description="The suite, or `version 2` for the holdout of its update.",
    )
    pixels: str = Field(description="SHA-256 of the image's decoded pixels.")
    class_name: str | None = Field(
        alias="class", examples=["okapi"], description="Null in a captioned suite."
    )
    before: str | None = Field(
        examples=["okapi"],
        description="The class predicted before; null if the features were not finite.",
    )
    now: str | None = Field(examples=["zebra"])
    before_probability: float | None = Field(
        examples=[0.71],
        description="Of the class predicted before, among all of the suite's; null for answers of "
        "evaluations that did not store it, and in a captioned suite.",
    )
    now_probability: float | None = Field(examples=[0.64])
    rank_before: int | None = Field(
        description="In a captioned suite: how many captions ranked before the image's own."
    )
    rank_now: int | None

    @classmethod
    def of(cls, flip: Flip) -> Self:
        """Return the view of a flip."""
        return cls(
            kind=flip.kind,
            suite=flip.name,
            pixels=flip.pixels,
            class_name=flip.class_name,
            before=flip.before,
            now=flip.now,
            before_probability=flip.before_probability,
            now_probability=flip.now_probability,
            rank_before=flip.rank_before,
            rank_now=flip.rank_now,
        )


class FlipPage(Page[FlipView]):
    """A page of flips, sorted by suite and image, with the two versions."""

    before: VersionRef
    now: VersionRef


def flip_after(after: str | None) -> tuple[str, str]:
    """Return the suite and image after which a page of flips starts. Raises FieldInvalid."""
    if after is None:
        return "", ""
    name, colon, pixels = after.rpartition(":")
    if not colon:
        raise FieldInvalid("after must be the `next` of an earlier page.", pointer="#query/after")
    return name, pixels
