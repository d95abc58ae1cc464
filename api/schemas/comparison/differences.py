"""Schemas of the comparison of two versions."""

from dataclasses import asdict
from typing import Annotated, Self

from fastapi import Query
from pydantic import Field

from api.schemas.common import ResponseModel
from api.schemas.comparison.flips import VersionRef
from core.domain.comparison.confusions import Confusion
from core.domain.evaluation.report_sections import ChangeTable, Recall, Scores
from core.domain.gate.measure import Measure, MeasureKind
from core.use_cases.evaluation.compare_versions import VersionComparison

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
    count: int = Field(description="Number of predictions: one per image, or per caption.")
    right_before: int
    right: int
    gained: int
    lost: int
    design_effect: float = Field(description="Variance inflation because captions share images.")
    difference: float
    lower: float
    upper: float
    formerly_right: bool = Field(
        description="Whether only predictions that were right before count: `lost` out of `count` "
        "are then negative flips."
    )

    @classmethod
    def of(cls, measure: Measure) -> Self:
        """Return the view of a measure."""
        return cls(**{name: getattr(measure, name) for name in cls.model_fields})


class ConfusionView(ResponseModel):
    """A confusion that the two versions make differently often."""

    class_name: str = Field(alias="class", examples=["okapi"])
    predicted: str | None = Field(
        examples=["zebra"], description="Null if the features were not finite."
    )
    before: int
    now: int
    change: int = Field(examples=[4], description="`now` minus `before`.")

    @classmethod
    def of(cls, cell: Confusion) -> Self:
        """Return the view of a cell."""
        return cls(**asdict(cell))


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
    alpha: float = Field(description="One-sided error of each bound: the policy's.")
    lost: int = Field(description="Images right before and wrong now, over suites and holdouts.")
    gained: int
    measures: list[ComparedMeasure]
    changes: list[ChangeTable] = Field(description="By class, worst first.")
    confusions: list[ConfusionTableView]
    recalls: list[Recall]
    scores: list[Scores] = Field(
        description="Of each version's own report: UT-Acc covers the updates of its lineage, with "
        "all classes that it has learned. A root has none."
    )
    left_out: list[LeftOut]
    links: dict[str, str]

    @classmethod
    def of(cls, found: VersionComparison) -> Self:
        """Return the view of a comparison."""
        comparison, old, new = found.comparison, found.before, found.now
        versions = f"/v1/models/{found.model.name}/versions"
        return cls(
            model=found.model.name,
            before=VersionRef.of(old),
            now=VersionRef.of(new),
            alpha=comparison.alpha,
            lost=comparison.lost,
            gained=comparison.gained,
            measures=[ComparedMeasure.of(measure) for measure in comparison.measures],
            changes=list(comparison.changes),
            confusions=[
                ConfusionTableView(
                    name=table.name, cells=[ConfusionView.of(c) for c in table.cells]
                )
                for table in comparison.confusions
            ],
            recalls=list(comparison.recalls),
            scores=[Scores(**row) for row in found.scores],
            left_out=[LeftOut(name=name, version=number) for name, number in found.left_out],
            links={"flips": f"{versions}/{new.number}/flips?against={old.number}"},
        )
