"""Flips, comparisons of versions, and blame. Accuracies are fractions of 1."""

from typing import Literal, TypedDict

from perennial.types.evaluation import ChangeTable, MeasureKind, Recall, Scores

FlipKind = Literal["lost", "gained"]

# An image that one of two versions answered right and the other wrong. `suite` may be "version 2",
# the holdout of its update. Classes are None in a captioned suite, ranks elsewhere.
# Probabilities are of the classes predicted; None where they were not stored.
Flip = TypedDict(
    "Flip",
    {
        "kind": FlipKind,
        "suite": str,
        "pixels": str,
        "class": str | None,
        "before": str | None,
        "now": str | None,
        "before_probability": float | None,
        "now_probability": float | None,
        "rank_before": int | None,
        "rank_now": int | None,
    },
)

# A confusion that two versions make differently often; `change` is `now` minus `before`.
Confusion = TypedDict(
    "Confusion",
    {"class": str, "predicted": str | None, "before": int, "now": int, "change": int},
)


class ConfusionTable(TypedDict):
    """The cells of a confusion matrix that changed, largest change first."""

    name: str
    cells: list[Confusion]


class VersionRef(TypedDict):
    """A version by its number and digest."""

    version: int
    digest: str


class ComparedMeasure(TypedDict):
    """A paired comparison of two versions; nothing is judged."""

    kind: MeasureKind
    name: str  # suite, or version whose update the holdout belongs to
    images: int
    count: int  # answers: images, or captions of images
    right_before: int
    right: int
    gained: int
    lost: int
    design_effect: float
    difference: float
    lower: float
    upper: float
    formerly_right: bool  # only predictions that were right before count


class LeftOut(TypedDict):
    """A suite or holdout that a version has not answered."""

    name: str
    version: int


class Comparison(TypedDict):
    """The differences between the answers of two versions to the same test images."""

    model: str
    before: VersionRef
    now: VersionRef
    alpha: float
    lost: int  # images, over all suites and holdouts
    gained: int
    measures: list[ComparedMeasure]
    changes: list[ChangeTable]
    confusions: list[ConfusionTable]
    recalls: list[Recall]
    scores: list[Scores]
    left_out: list[LeftOut]
    links: dict[str, str]


class Score(TypedDict):
    """A version's accuracy on the images of one class."""

    version: int
    images: int
    right: int
    accuracy: float
    lower: float
    upper: float


class Curve(TypedDict):
    """The accuracy of a class in one suite or holdout, root first."""

    kind: MeasureKind
    name: str
    scores: list[Score]


class Step(TypedDict):
    """The change of a class from a version's parent to the version."""

    parent: int
    version: int
    images: int
    gained: int
    lost: int
    difference: float
    lower: float
    upper: float
    clear: bool  # the whole interval is below zero


# The accuracy of a class along the line of a version; `fell` is the step with the largest loss.
Blame = TypedDict(
    "Blame",
    {
        "model": str,
        "version": int,
        "digest": str,
        "class": str,
        "alpha": float,
        "curves": list[Curve],
        "steps": list[Step],
        "fell": Step | None,
    },
)

# Reports of blames: which images of an update cost a class its accuracy.

Grouping = Literal["upload", "class", "random"]

# What a blame asks. Without a class: each that has fallen since the version's parent.
BlameOrder = TypedDict(
    "BlameOrder",
    {
        "version": int,
        "class": str | None,
        "by": Grouping,
        "groups": int,  # at most
        "suite": str | None,
    },
)


class ImageGroup(TypedDict):
    """Training images of an update that were left out together."""

    group: int
    name: str
    images: int
    classes: dict[str, int]  # number of images
    pixels: list[str]
    digest: str  # of what was trained without the group; no version has it


class GroupChange(TypedDict):
    """The change of a class without a group."""

    group: int
    name: str
    right_before: int  # by the version itself
    right: int  # without the group
    gained: int
    lost: int
    difference: float
    lower: float
    upper: float
    clear: bool  # the whole interval is above zero


# A class, and its change without each group; the group to blame most comes first.
BlamedClass = TypedDict(
    "BlamedClass",
    {
        "class": str,
        "images": int,  # test images
        "right": int,  # by the version
        "summary": str,
        "groups": list[GroupChange],
    },
)


class BlameReport(TypedDict):
    """The groups of images that an update was trained without, and what each of them changed."""

    model: str
    version: int
    digest: str
    parent: int
    by: Grouping
    asked: list[str]  # suites, and holdouts as "version 2"
    alpha: float
    exact: bool  # all groups were trained in the version's own environment
    groups: list[ImageGroup]
    classes: list[BlamedClass]
