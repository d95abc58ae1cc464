"""The forgetting report of a version, as plain values."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from core.errors import ReportUnreadable
from core.gate.classes import ClassLoss
from core.gate.guards import is_worn_out
from core.gate.kinds import ClassList, MeasureKind
from core.gate.measures import Measure, Ruling
from core.gate.rules import GatePolicy, Verdict
from core.registry.versions import ServingPrecision
from core.rejection.rules import Calibration
from core.values import Digest, Json, canonical_json, description, from_plain

FORMAT = 2
FEWEST = 10  # images of a class whose change is told in points; of fewer, only counts are shown


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
    luck: float  # of its ancestors, by which the level is divided
    level: float  # one-sided error of this verdict's lower bounds
    spent: float
    left: float
    worn_out: bool  # even unchanged answers could not hold now


@dataclass(frozen=True, kw_only=True)
class GrownImages:
    """The test images of a suite that has grown, or of all holdouts if one of them has.

    The version was judged by it when there were fewer, or a settled version cannot answer about all
    because its weights are gone: it is compared on those that were there at first.
    """

    name: str  # a suite, or "holdouts"
    images: int  # now
    seen: tuple[int, ...]  # test images at other looks, also at those too small to count
    look: int  # the number of this look
    common: int  # those on which it is compared with settled versions


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
    role: str  # "candidate", "parent" or "root"
    version: int
    images: int
    own_classes: int
    union_classes: int
    own: float
    union: float


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Images that the baseline had right over a longer list and the candidate gives one answer."""

    kind: MeasureKind
    asked: ClassList
    name: str
    baseline: str
    baseline_version: int
    class_name: str
    answered: str
    newer: bool = field(metadata=description("Whether the own list lacks the class answered."))
    images: int
    lost: int = field(
        metadata=description("All images of the class that were right and are wrong.")
    )
    may_be_same: bool = field(
        metadata=description(
            "Whether the two names may mean the same: a learned class took most of what a suite's "
            "class lost, or the reverse, and little else. If they do, name the pair in "
            "`same_names` of a policy."
        )
    )


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


@dataclass(frozen=True, kw_only=True)
class Unguarded:
    """Classes that a version was taught, and of which no suite and no holdout has test images."""

    version: int
    imported: bool
    classes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The first sentences, in plain words."""

    unguarded: str = field(
        metadata=description("What nothing guards against forgetting; empty if everything is.")
    )
    learned: str
    lost: str
    go_live: str  # by its verdict; what happened since may forbid it


@dataclass(frozen=True, kw_only=True)
class Report:
    """A forgetting report: what was measured, judged and found. Numbers are fractions of 1."""

    format: int = field(default=FORMAT, metadata=description("Later formats add fields.", [FORMAT]))
    model: str
    version: int
    digest: Digest
    parent: int
    parent_digest: Digest
    root: int
    root_digest: Digest
    recipe: Json | None
    dataset: str | None
    dataset_version: int | None
    precision: ServingPrecision = field(
        default=ServingPrecision.FP32,
        metadata=description("The numbers that it was scored in, and is served in."),
    )
    captions: bool = field(
        default=False,
        metadata=description("Whether it was taught captions, in place of classes or beside them."),
    )
    converted: bool = field(
        default=False,
        metadata=description(
            "Whether it has its parent's tensors in another precision, and was taught nothing."
        ),
    )
    update_classes: tuple[str, ...]
    classes: tuple[str, ...]
    prompt: str
    policy: Json
    verdict: Verdict
    summary: Summary = field(
        metadata=description("What it learned, what it lost, and whether it may go live.")
    )
    reasons: tuple[str, ...]
    unguarded: tuple[Unguarded, ...] = field(
        default=(),
        metadata=description(
            "Earlier classes that it could forget without a measure that shows it."
        ),
    )
    measures: tuple[Ruling, ...]
    scores: tuple[Scores, ...]
    retention: float | None = field(metadata=description("ZS-Acc, divided by the root's."))
    zero_shot_change: float | None = field(metadata=description("ZS-Acc minus the root's."))
    transfer: Transfer
    tasks: tuple[Task, ...]
    matrix: tuple[MatrixRow, ...]
    changes: tuple[ChangeTable, ...]
    lists: tuple[ListScore, ...]
    taken: tuple[Taken, ...] = field(
        metadata=description("Which classes took the answers that were lost among all classes.")
    )
    recalls: tuple[Recall, ...]
    judged_before: int = field(
        metadata=description("Number of candidates evaluated on the same test images before.")
    )
    near_duplicates: int = field(
        metadata=description("Images of the update with an older near-duplicate.")
    )
    images: Mapping[str, int] = field(
        default_factory=dict, metadata=description("Test images by suite and holdout.")
    )
    live: int | None = field(
        default=None,
        metadata=description("The live version that the candidate was compared with, if any."),
    )
    live_digest: Digest | None = None
    suites: Mapping[str, str] = field(
        default_factory=dict, metadata=description("Names of the suites scored on, by id.")
    )
    lost_classes: tuple[ClassLoss, ...] = field(
        default=(),
        metadata=description(
            "Single classes that lost so much that it fails the version, unless the live version "
            "itself has lost them."
        ),
    )
    budgets: tuple[BudgetUse, ...] = field(
        default=(),
        metadata=description(
            "Use of the line's error budget by suite and holdout, if there is one."
        ),
    )
    grown: tuple[GrownImages, ...] = field(
        default=(),
        metadata=description(
            "Suites and holdouts whose test images have grown since they first judged this version "
            "or the settled one."
        ),
    )
    unlabelled: tuple[str, ...] = field(
        default=(),
        metadata=description(
            "Suites that are labelled only where versions disagree. They tell how far versions are "
            "apart, and nothing else: no accuracy, losses of single classes, negative flips or "
            'thresholds for "none of these".'
        ),
    )
    to_label: tuple[str, ...] = field(
        default=(),
        metadata=description("Which labels unlabelled suites need before the version can pass."),
    )
    reference: Json | None = None  # {"dataset", "version"} of the reference set
    notes: Json = field(
        default_factory=dict, metadata=description("What training chose automatically.")
    )
    environments: tuple[Mapping[str, str], ...] = field(
        default=(), metadata=description("Every environment of the training, in order.")
    )
    exact: bool | None = field(
        default=None,
        metadata=description(
            "Whether repeating the training gives bit-identical weights, if recorded."
        ),
    )
    rejection: Calibration = field(
        metadata=description(
            'Thresholds for "none of these", chosen on validation images, and their error rates on '
            "test images."
        )
    )

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON; equal reports give equal bytes."""
        return asdict(self)

    def to_bytes(self) -> bytes:
        """Return the canonical JSON that is stored."""
        return canonical_json(self.to_json())

    @classmethod
    def from_json(cls, value: Json) -> "Report":
        """Return the report that `to_json` wrote. Raises ReportUnreadable for an unknown format."""
        if value.get("format") != FORMAT:
            raise ReportUnreadable(format=value.get("format"), readable=[FORMAT])
        return from_plain(cls, value)


def budget_use(measures: Sequence[Measure], policy: GatePolicy) -> Iterator[BudgetUse]:
    """Yield a row for the test images of each suite or holdout that spends, in their order."""
    for name in dict.fromkeys(m.name for m in measures):
        found = [m for m in measures if m.name == name]
        verdicts, level = found[0].verdicts, found[0].level
        if policy.budget is None or verdicts is None or level is None:
            continue
        spent = policy.budget.spent(verdicts)
        yield BudgetUse(
            name=name,
            verdicts=verdicts,
            luck=found[0].luck,
            level=level,
            spent=spent,
            left=policy.budget.total - spent,
            worn_out=any(is_worn_out(m, policy.alpha, policy.minimum_count) for m in found),
        )
