"""Forgetting reports: what was measured, judged and found. Accuracies are fractions of 1."""

from typing import Any, Literal, NotRequired, TypedDict

Verdict = Literal["passed", "failed", "inconclusive"]
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


# Thresholds for "none of these", and how often they err.

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


# The report.


class Report(TypedDict):
    """A forgetting report."""

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
