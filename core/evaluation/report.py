"""The forgetting report of a version, as plain values."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from core.errors import ReportUnreadable
from core.gate.measures import Measure, MeasureKind, Outcome, Ruling
from core.gate.rules import GatePolicy, Verdict
from core.rejection.rules import Calibration
from core.values import Digest, Json, canonical_json

FORMAT = 2


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
    role: str  # "candidate", "parent" or "root"
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


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything a person needs to agree or disagree with the gate."""

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
    update_classes: tuple[str, ...]
    classes: tuple[str, ...]
    prompt: str
    policy: Json
    verdict: Verdict
    reasons: tuple[str, ...]
    rulings: tuple[Ruling, ...]
    scores: tuple[Scores, ...]
    retention: float | None  # ZS-Acc over the root's
    zero_shot_change: float | None  # ZS-Acc minus the root's
    transfer: Transfer
    tasks: tuple[Task, ...]
    matrix: tuple[MatrixRow, ...]
    changes: tuple[ChangeTable, ...]
    lists: tuple[ListScore, ...]
    recalls: tuple[Recall, ...]
    judged_before: int  # candidates that the same test parts had judged
    near_duplicates: int  # images of the update with an older near-duplicate
    images: Mapping[str, int] = field(default_factory=dict)  # test images by suite and holdout
    live: int | None = None  # what it would have replaced, unless of its own lineage
    live_digest: Digest | None = None
    suites: Mapping[str, str] = field(
        default_factory=dict
    )  # those that it was scored on: names by id
    budgets: tuple[BudgetUse, ...] = ()  # empty if the policy has no budget
    reference: Json | None = None  # {"dataset", "version"} of the reference set
    notes: Json = field(default_factory=dict)  # what training chose by itself
    environments: tuple[Mapping[str, str], ...] = ()  # that training ran in, in order
    exact: bool | None = None  # whether a repeat is bit-exact; None: unknown
    rejection: Calibration  # thresholds for "none of these"

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON; equal reports give equal bytes."""
        value = asdict(self)
        del value["rulings"]
        measures = [
            asdict(ruling.measure) | {"outcome": ruling.outcome, "more_images": ruling.more_images}
            for ruling in self.rulings
        ]
        return {"format": FORMAT, **value, "measures": measures}

    def to_bytes(self) -> bytes:
        """Return the canonical JSON that is stored."""
        return canonical_json(self.to_json())

    @classmethod
    def from_json(cls, value: Json) -> "Report":
        """Return the report that `to_json` wrote. Raises ReportUnreadable for an unknown format."""
        if value.get("format") != FORMAT:
            raise ReportUnreadable(format=value.get("format"), readable=[FORMAT])
        plain = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        return cls(
            **{
                **plain,
                "verdict": Verdict(value["verdict"]),
                "update_classes": tuple(value["update_classes"]),
                "classes": tuple(value["classes"]),
                "reasons": tuple(value["reasons"]),
                "environments": tuple(value["environments"]),
                "budgets": tuple(BudgetUse(**row) for row in value["budgets"]),
                "rulings": tuple(map(_ruling, value["measures"])),
                "scores": tuple(Scores(**row) for row in value["scores"]),
                "transfer": Transfer(**value["transfer"]),
                "rejection": Calibration.from_json(value["rejection"]),
                "tasks": tuple(
                    Task(**{**row, "classes": tuple(row["classes"])}) for row in value["tasks"]
                ),
                "matrix": tuple(
                    MatrixRow(
                        version=row["version"],
                        micro=tuple(row["micro"]),
                        macro=tuple(row["macro"]),
                    )
                    for row in value["matrix"]
                ),
                "changes": tuple(map(_changes, value["changes"])),
                "lists": tuple(
                    ListScore(**{**row, "kind": MeasureKind(row["kind"])}) for row in value["lists"]
                ),
                "recalls": tuple(
                    Recall(**{**row, "direction": MeasureKind(row["direction"])})
                    for row in value["recalls"]
                ),
            }
        )


def _ruling(row: Json) -> Ruling:
    fields = {name: row[name] for name in Measure.__dataclass_fields__}
    measure = Measure(**{**fields, "kind": MeasureKind(row["kind"])})
    return Ruling(measure=measure, outcome=Outcome(row["outcome"]), more_images=row["more_images"])


def _changes(row: Json) -> ChangeTable:
    classes = tuple(Change(**change) for change in row["classes"])
    return ChangeTable(**{**row, "kind": MeasureKind(row["kind"]), "classes": classes})


def budget_use(measures: Sequence[Measure], policy: GatePolicy) -> Iterator[BudgetUse]:
    """Yield a row for the test images of each guarding suite or holdout, in their order.

    Images below the policy's minimum are left out: a pass does not depend on them.
    """
    for name in dict.fromkeys(m.name for m in measures if m.images >= policy.minimum_count):
        found = [m for m in measures if m.name == name]
        verdicts, level = found[0].verdicts, found[0].level
        if policy.budget is None or verdicts is None or level is None:
            continue
        spent = policy.budget.spent(verdicts)
        yield BudgetUse(
            name=name,
            verdicts=verdicts,
            level=level,
            spent=spent,
            left=policy.budget.total - spent,
            worn_out=any(m.is_worn_out(policy.alpha) for m in found),
        )
