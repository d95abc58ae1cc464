"""The forgetting report of a version, as plain values."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from core.domain.evaluation.report_sections import (
    BudgetUse,
    Change,
    ChangeTable,
    ListScore,
    MatrixRow,
    Recall,
    Scores,
    Task,
    Transfer,
)
from core.domain.gate.measure import Measure, MeasureKind, Outcome, Ruling
from core.domain.gate.policy import Verdict
from core.domain.rejection.calibration import Calibration
from core.domain.values import Digest, Json, canonical_json
from core.errors import ReportUnreadable

FORMAT = 2
READABLE = (1, FORMAT)  # 1: without suites and live version, which did not exist then


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
    exact: bool | None = None  # whether a repeat is bit-exact; None: not recorded
    rejection: Calibration | None = None  # thresholds for "none of these"; None: not recorded

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
        if value.get("format") not in READABLE:
            raise ReportUnreadable(format=value.get("format"), readable=list(READABLE))
        plain = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        return cls(
            **{
                **plain,
                "verdict": Verdict(value["verdict"]),
                "update_classes": tuple(value["update_classes"]),
                "classes": tuple(value["classes"]),
                "reasons": tuple(value["reasons"]),
                "environments": tuple(value.get("environments", ())),
                "budgets": tuple(BudgetUse(**row) for row in value.get("budgets", ())),
                "rulings": tuple(map(_ruling, value["measures"])),
                "scores": tuple(Scores(**row) for row in value["scores"]),
                "transfer": _transfer(value["transfer"]),
                "rejection": _calibration(value.get("rejection")),
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
    fields = {name: row[name] for name in Measure.__dataclass_fields__ if name in row}
    measure = Measure(**{**fields, "kind": MeasureKind(row["kind"])})
    return Ruling(measure=measure, outcome=Outcome(row["outcome"]), more_images=row["more_images"])


def _transfer(row: Json) -> Transfer:
    # Reports of an earlier release also have a `backward_union`.
    return Transfer(**{name: row[name] for name in Transfer.__dataclass_fields__})


def _calibration(value: Json | None) -> Calibration | None:
    return None if value is None else Calibration.from_json(value)


def _changes(row: Json) -> ChangeTable:
    classes = tuple(Change(**change) for change in row["classes"])
    return ChangeTable(**{**row, "kind": MeasureKind(row["kind"]), "classes": classes})
