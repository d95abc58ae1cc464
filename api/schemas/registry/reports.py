"""Schema of the forgetting report: what `Report.to_json` writes."""

from typing import Any

from pydantic import ConfigDict, Field

from api.schemas.common import ResponseModel
from core.domain.evaluation.report_sections import (
    BudgetUse,
    ChangeTable,
    ListScore,
    MatrixRow,
    Recall,
    Scores,
    Task,
    Transfer,
)
from core.domain.gate.measure import MeasureKind, Outcome
from core.domain.gate.policy import Verdict
from core.domain.rejection.calibration import Calibration


class MeasureView(ResponseModel):
    """A paired comparison of the candidate with a baseline, and the gate's ruling on it."""

    model_config = ConfigDict(extra="forbid")

    kind: MeasureKind
    name: str = Field(description="The suite, or the version whose update the holdout belongs to.")
    baseline: str = Field(examples=["parent", "root", "version 3"])
    baseline_version: int | None
    tolerance: float = Field(description="A fraction of 1; for a gain, the wanted gain, negated.")
    images: int
    count: int = Field(description="Number of predictions: one per image, or per caption.")
    right: int
    right_before: int
    gained: int = Field(description="Correct for this version, wrong for the baseline.")
    lost: int = Field(description="Correct for the baseline, wrong for this version.")
    design_effect: float = Field(description="Variance inflation because captions share images.")
    difference: float
    lower: float
    upper: float
    formerly_right: bool = Field(
        False,
        description="Whether only predictions that were right before count: `lost` out of `count` "
        "are then negative flips, and `tolerance` is the limit for their share.",
    )
    verdicts: int | None = Field(
        None, description="Versions of the line that these test images have judged, with this one."
    )
    level: float | None = Field(
        None, description="One-sided error of `lower`, if the line's budget sets it."
    )
    outcome: Outcome
    more_images: int | None = Field(
        description="About how many more images would decide an open measure."
    )


class ReportView(ResponseModel):
    """A forgetting report: what was measured, judged and found. Numbers are fractions of 1."""

    model_config = ConfigDict(extra="forbid")

    format: int = Field(description="Later formats add fields.", examples=[2])
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
    measures: list[MeasureView]
    scores: list[Scores]
    retention: float | None = Field(description="ZS-Acc, divided by the root's.")
    zero_shot_change: float | None = Field(description="ZS-Acc minus the root's.")
    transfer: Transfer
    tasks: list[Task]
    matrix: list[MatrixRow]
    changes: list[ChangeTable]
    lists: list[ListScore]
    recalls: list[Recall]
    judged_before: int = Field(
        description="Number of candidates evaluated on the same test images before."
    )
    near_duplicates: int = Field(description="Images of the update with an older near-duplicate.")
    images: dict[str, int] = Field({}, description="Test images by suite and holdout.")
    live: int | None = Field(
        None, description="The live version, if the candidate was compared with it too."
    )
    live_digest: str | None = None
    suites: dict[str, str] = Field({}, description="Names of the suites scored on, by id.")
    budgets: list[BudgetUse] = Field(
        [], description="Use of the line's error budget by suite and holdout, if there is one."
    )
    reference: dict[str, Any] | None = None
    notes: dict[str, Any] = Field({}, description="What training chose automatically.")
    environments: list[dict[str, str]] = Field(
        [], description="Every environment of the training, in order."
    )
    exact: bool | None = Field(
        None, description="Whether repeating the training gives bit-identical weights, if recorded."
    )
    rejection: Calibration | None = Field(
        None,
        description='Thresholds for "none of these", chosen on validation images, and their error '
        "rates on test images.",
    )
