"""Reports, comparisons and blames."""

from typing import Any, Literal, NotRequired, TypedDict

# Reports of blames: which images of an update cost a class its accuracy. Fractions of 1.

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


# Thresholds for "none of these", and how often they err. Rates are fractions of 1.

Statistic = Literal["max_cosine", "max_softmax", "margin"]


class ErrorRate(TypedDict):
    """A measured rate with its 95 % interval over images."""

    rate: float
    lower: float
    upper: float
    images: int


class Threshold(TypedDict):
    """A threshold chosen on validation images, and its error rates on test images."""

    rate: float  # the false-rejection rate that it was chosen for
    threshold: float
    false_rejection: ErrorRate
    false_acceptance: ErrorRate


class ListCalibration(TypedDict):
    """The thresholds for class lists of one length."""

    size: int
    statistic: Statistic
    auroc: float
    thresholds: list[Threshold]


class SourceCalibration(TypedDict):
    """The thresholds of a suite, of all updates' holdouts, or of all of these together."""

    name: str
    classes: list[str]
    prompt: str | None
    lists: list[ListCalibration]


class Calibration(TypedDict):
    """A version's thresholds; without a source it had too few images."""

    sources: NotRequired[list[SourceCalibration]]


# Versions of a model.

Verdict = Literal["passed", "failed", "inconclusive"]


# The forgetting report: what was measured, judged and found. Accuracies are fractions of 1.

MeasureKind = Literal["zero_shot", "image_to_text", "text_to_image", "holdout", "holdouts", "gain"]
Outcome = Literal["holds", "fails", "open", "advisory"]


class Measure(TypedDict):
    """A paired comparison of the candidate with a baseline, and the gate's ruling on it."""

    kind: MeasureKind
    name: str  # suite, or version whose update the holdout belongs to
    baseline: str
    baseline_version: int | None
    tolerance: float  # of a gain, the negated wanted gain
    images: int
    count: int  # answers: images, or captions of images
    right: int
    right_before: int
    gained: int
    lost: int
    design_effect: float
    difference: float
    lower: float
    upper: float
    formerly_right: NotRequired[bool]  # only predictions that were right before count
    verdicts: NotRequired[int | None]  # versions of the line judged by these images, with this one
    level: NotRequired[float | None]  # error of `lower`, if the line's budget sets it
    outcome: Outcome
    more_images: int | None


class Scores(TypedDict):
    """A version's headline accuracies: UT-Acc, ZS-Acc and their mean; None without a query."""

    role: str
    version: int
    ut_micro: float | None
    ut_macro: float | None
    zero_shot: float | None
    average: float | None


class BudgetUse(TypedDict):
    """The use of the line's error budget by the test images of a suite or holdout."""

    name: str
    verdicts: int
    level: float
    spent: float
    left: float
    worn_out: bool


class Change(TypedDict):
    """The change of one class: counts, accuracy and paired difference with their intervals."""

    class_name: str
    images: int
    right: int
    right_before: int
    gained: int
    lost: int
    accuracy_lower: float
    accuracy_upper: float
    difference: float
    lower: float
    upper: float


class ChangeTable(TypedDict):
    """The changes of all classes of a suite or holdout against one baseline, worst first."""

    kind: MeasureKind
    name: str
    baseline: str
    baseline_version: int
    classes: list[Change]


class ListScore(TypedDict):
    """A version's accuracy over a query's own class list and over the union."""

    kind: MeasureKind
    name: str
    role: str
    version: int
    images: int
    own_classes: int
    union_classes: int
    own: float
    union: float


class Recall(TypedDict):
    """A version's R@1, R@5 and R@10 on a captioned suite, in one direction."""

    suite: str
    direction: MeasureKind
    role: str
    version: int
    queries: int
    gallery: int
    at_1: float
    at_5: float
    at_10: float


class Task(TypedDict):
    """A column of the accuracy matrix: an update's holdout."""

    version: int
    classes: list[str]
    images: int


class MatrixRow(TypedDict):
    """A version's accuracy on each task, over the class list known when it was learned."""

    version: int
    micro: list[float | None]
    macro: list[float | None]


class Transfer(TypedDict, total=False):
    """Transfer between updates; None where undefined."""

    backward: float | None
    backward_reference: float | None
    forgetting: float | None
    forward: float | None
    learned: float | None


class Report(TypedDict):
    """A forgetting report. Reports that an earlier release wrote lack the fields not required."""

    format: int
    model: str
    version: int
    digest: str
    parent: int
    parent_digest: str
    root: int
    root_digest: str
    recipe: dict[str, Any] | None
    dataset: str | None
    dataset_version: int | None
    update_classes: list[str]
    classes: list[str]
    prompt: str
    policy: dict[str, Any]
    verdict: Verdict
    reasons: list[str]
    measures: list[Measure]
    scores: list[Scores]
    retention: float | None  # ZS-Acc divided by the root's
    zero_shot_change: float | None  # ZS-Acc minus the root's
    transfer: Transfer
    tasks: list[Task]
    matrix: list[MatrixRow]
    changes: list[ChangeTable]
    lists: list[ListScore]
    recalls: list[Recall]
    judged_before: int
    near_duplicates: int
    images: NotRequired[dict[str, int]]
    live: NotRequired[int | None]
    live_digest: NotRequired[str | None]
    suites: NotRequired[dict[str, str]]
    budgets: NotRequired[list[BudgetUse]]
    reference: NotRequired[dict[str, Any] | None]
    notes: NotRequired[dict[str, Any]]
    environments: NotRequired[list[dict[str, str]]]
    exact: NotRequired[bool | None]
    rejection: NotRequired[Calibration | None]


# Comparisons of versions: flips, differences and blame. Accuracies are fractions of 1.

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
