"""The sections of a forgetting report."""

from dataclasses import dataclass

from core.domain.gate.measure import MeasureKind


@dataclass(frozen=True, kw_only=True)
class Scores:
    """A version's headline accuracies, as fractions of 1; None without a query.

    UT-Acc covers the test parts of all holdouts of the lineage, with all classes the
    candidate has learned competing; `macro` weights the classes of an update equally, and the
    updates equally. ZS-Acc covers all zero-shot suites and weights images equally. A-Acc is the
    mean of UT-Acc (micro) and ZS-Acc.
    """

    role: str  # "candidate", "parent", "root" or "live"
    version: int
    ut_micro: float | None
    ut_macro: float | None
    zero_shot: float | None
    average: float | None


@dataclass(frozen=True, kw_only=True)
class BudgetUse:
    """The use of the line's error budget by the test images of a guarding suite or holdout."""

    name: str  # a suite, "version 2" (its update's holdout) or "3 updates" (their holdouts)
    verdicts: int  # versions of the line that these images have judged, this one included
    level: float  # one-sided error of this verdict's lower bounds
    spent: float
    left: float
    worn_out: bool  # even unchanged answers could not hold now


@dataclass(frozen=True, kw_only=True)
class Change:
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


@dataclass(frozen=True, kw_only=True)
class ChangeTable:
    """The changes of all classes of a suite or holdout against one baseline, worst first."""

    kind: MeasureKind
    name: str
    baseline: str
    baseline_version: int
    classes: tuple[Change, ...]


@dataclass(frozen=True, kw_only=True)
class ListScore:
    """A version's accuracy over a query's own class list and over the union."""

    kind: MeasureKind
    name: str
    role: str  # "candidate", "parent" or "root"; in reports of an earlier release also "learner"
    version: int
    images: int
    own_classes: int
    union_classes: int
    own: float
    union: float


@dataclass(frozen=True, kw_only=True)
class Recall:
    """A version's R@1, R@5 and R@10 on a captioned suite, in one direction."""

    suite: str
    direction: MeasureKind  # image_to_text or text_to_image
    role: str
    version: int
    queries: int
    gallery: int
    at_1: float
    at_5: float
    at_10: float


@dataclass(frozen=True, kw_only=True)
class Task:
    """A column of the accuracy matrix: an update's holdout."""

    version: int
    classes: tuple[str, ...]  # taught by that update
    images: int


@dataclass(frozen=True, kw_only=True)
class MatrixRow:
    """A version's accuracy on each task, over the class list known when it was learned."""

    version: int
    micro: tuple[float | None, ...]
    macro: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Transfer between updates, from the macro accuracies; None where undefined.

    All are over the class list known when a task was learned.
    """

    backward: float | None = None
    backward_reference: float | None = None
    forgetting: float | None = None
    forward: float | None = None
    learned: float | None = None
