"""Schemas of blame: a class's accuracy along a line of versions."""

from dataclasses import asdict
from typing import Annotated, Self

from fastapi import Query
from pydantic import BeforeValidator, Field

from api.schemas.common import ResponseModel, whole_number
from core.domain.comparison.blame import Blame, ClassStep
from core.domain.gate.measure import MeasureKind
from core.domain.registry.version import Model, Version

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

    @classmethod
    def of(cls, step: ClassStep) -> Self:
        """Return the view of a step."""
        return cls(**asdict(step), clear=step.clear)


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
    alpha: float = Field(description="One-sided error of each bound: the policy's.")
    curves: list[CurveView]
    steps: list[StepView] = Field(
        description="Each version against its parent, image by image, over all curves; an image in "
        "several of them counts once."
    )
    fell: StepView | None = Field(
        description="The step with the largest loss; null if the class never lost."
    )

    @classmethod
    def of(cls, model: Model, version: Version, found: Blame) -> Self:
        """Return the view of a class's blame."""
        return cls(
            model=model.name,
            version=version.number,
            digest=version.digest,
            class_name=found.class_name,
            alpha=found.alpha,
            curves=[CurveView(**asdict(curve)) for curve in found.curves],
            steps=[StepView.of(step) for step in found.steps],
            fell=StepView.of(found.fell) if found.fell else None,
        )
