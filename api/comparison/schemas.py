"""Schemas of flips and differences between two versions, and of blame."""

from typing import Annotated

from fastapi import Query
from pydantic import BeforeValidator, Field

from api.http.schemas import Page, ResponseModel, whole_number
from core.comparison.answers import FlipKind
from core.comparison.compare import VersionComparison
from core.datasets.image_lists import Grouping
from core.errors import FieldInvalid
from core.evaluation.report import ChangeTable, Recall, Scores
from core.gate.kinds import MeasureKind

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
        json_schema_extra={"pattern": ":.*:"},
    ),
]


class VersionRef(ResponseModel):
    """A version by its number and digest."""

    version: int = Field(validation_alias="number", examples=[3])
    digest: str


class FlipView(ResponseModel):
    """An image, or a caption, that one of two versions answered right and the other wrong."""

    kind: FlipKind = Field(description="`lost`: right before and wrong now. `gained`: the reverse.")
    suite: str = Field(
        validation_alias="name",
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
    caption: str | None = Field(
        examples=["a red boot"],
        description="In a captioned suite: the caption that looks for its image. Null: the image "
        "looks for its captions.",
    )
    rank_before: int | None = Field(
        description="In a captioned suite: how many captions ranked before the image's own, or how "
        "many images before the caption's own."
    )
    rank_now: int | None


class FlipPage(Page[FlipView]):
    """A page of flips, sorted by suite and image, with the two versions."""

    before: VersionRef
    now: VersionRef


def flip_after(after: str | None) -> tuple[str, str, int]:
    """Return the `Flip.key` after which a page of flips starts. Raises FieldInvalid."""
    if after is None:
        return "", "", 0
    name, pixels, place = ["", "", *after.rsplit(":", 2)][-3:]
    if not name or not (place.isascii() and place.isdecimal()):
        raise FieldInvalid("after must be the `next` of an earlier page.", pointer="#query/after")
    return name, pixels, int(place)


TwoVersions = Annotated[
    str,
    Query(
        pattern=r"^[1-9][0-9]{0,8},[1-9][0-9]{0,8}$",
        description="Two numbers; the second is compared with the first.",
        examples=["3,7"],
    ),
]


class ComparedMeasure(ResponseModel):
    """A paired comparison of two versions; nothing is judged. Numbers are fractions of 1."""

    kind: MeasureKind
    name: str = Field(description="The suite, or the version whose update the holdout belongs to.")
    images: int
    count: int = Field(
        description="Number of predictions: one for each group of near-duplicates, or for each "
        "caption."
    )
    right_before: int
    right: int
    gained: int
    lost: int
    design_effect: float = Field(
        description="Variance inflation because the answers about an image and its captions go "
        "together."
    )
    difference: float
    lower: float
    upper: float
    depth: int = Field(
        description="Of captions: an answer is right if what is wanted is among the first so many."
    )
    formerly_right: bool = Field(
        description="Whether only predictions that were right before count: `lost` out of `count` "
        "are then negative flips."
    )


class ConfusionView(ResponseModel):
    """A confusion that the two versions make differently often."""

    class_name: str = Field(alias="class", examples=["okapi"])
    predicted: str | None = Field(
        examples=["zebra"], description="Null if the features were not finite."
    )
    before: int
    now: int
    change: int = Field(examples=[4], description="`now` minus `before`.")


class ConfusionTableView(ResponseModel):
    """The cells of a confusion matrix that changed, largest change first."""

    name: str
    cells: list[ConfusionView]


class LeftOut(ResponseModel):
    """A suite or holdout that a version has not answered, so that it is not compared."""

    name: str
    version: int


class ComparisonView(ResponseModel):
    """The differences between the answers of two versions to the same test images."""

    model: str
    before: VersionRef
    now: VersionRef
    alpha: float = Field(
        description="One-sided error of each bound: the policy's.",
    )
    lost: int = Field(
        description="Right before and wrong now, over suites and holdouts: images, and captions of "
        "captioned suites.",
    )
    gained: int
    measures: list[ComparedMeasure]
    changes: list[ChangeTable] = Field(description="By class, worst first.")
    confusions: list[ConfusionTableView]
    recalls: list[Recall]
    fallen: list[FlipView] = Field(
        description="Of captioned suites: the images and captions that fell furthest from the "
        "first place, at most ten."
    )
    scores: list[Scores] = Field(
        description="Of each version's own report: UT-Acc covers the updates of its lineage, with "
        "all classes that it has learned. A root has none."
    )
    left_out: list[LeftOut]
    links: dict[str, str]


def comparison_view(found: VersionComparison) -> ComparisonView:
    """Return the view of a comparison."""
    here = f"/v1/models/{found.model.name}/versions/{found.now.number}"
    return ComparisonView.of(
        found.comparison,
        model=found.model.name,
        before=found.before,
        now=found.now,
        scores=found.scores,
        left_out=[LeftOut(name=name, version=number) for name, number in found.left_out],
        links={"flips": f"{here}/flips?against={found.before.number}"},
    )


# Blame: a class's accuracy along a line of versions, and without groups of an update's images.

VersionQuery = Annotated[
    int | None,
    Query(ge=1, le=2**31 - 1, description="The last version of the line."),
    BeforeValidator(whole_number),
]

ClassName = Annotated[str, Query(alias="class", max_length=100)]


class StepView(ResponseModel):
    """The change of a class from a version's parent to the version. Fractions of 1."""

    parent: int
    version: int
    images: int
    gained: int
    lost: int
    difference: float
    lower: float
    upper: float
    clear: bool = Field(description="Whether the whole interval is below zero.")


class ScoreView(ResponseModel):
    """A version's accuracy on the images of one class."""

    version: int
    images: int
    right: int
    accuracy: float
    lower: float
    upper: float


class CurveView(ResponseModel):
    """The accuracy of a class in one suite or holdout, root first."""

    kind: MeasureKind
    name: str
    scores: list[ScoreView] = Field(
        description="Without the versions that have not answered this suite or holdout."
    )


class BlameView(ResponseModel):
    """The accuracy of a class along the line of a version."""

    model: str
    version: int
    digest: str
    class_name: str = Field(alias="class", examples=["okapi"])
    alpha: float = Field(
        description="The policy's. One-sided error of each bound of `curves`; the steps share it "
        "evenly, so that of many none is blamed by chance."
    )
    curves: list[CurveView]
    steps: list[StepView] = Field(
        description="Each version against its parent, image by image, over all curves; an image in "
        "several of them counts once."
    )
    fell: StepView | None = Field(
        description="The step with the largest loss; null if the class never lost."
    )


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
