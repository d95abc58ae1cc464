"""Schemas of advice."""

from typing import Any, Self

from pydantic import Field

from api.schemas.common import ResponseModel
from api.schemas.jobs.jobs import DatasetVersionRef
from core.domain.advice.advice import Advice, ClassAdvice
from core.domain.advice.finding import Finding, Severity


class FindingView(ResponseModel):
    """Something to consider before an update is ordered."""

    code: str = Field(examples=["few_training_images"])
    severity: Severity = Field(description="A warning asks for a change; the update can start.")
    message: str = Field(
        examples=["These classes have fewer than 16 training images: boot (3). Add images of them."]
    )
    facts: dict[str, Any] = Field(examples=[{"classes": {"boot": 3}, "least": 16}])

    @classmethod
    def of(cls, finding: Finding) -> Self:
        """Return the view of a finding."""
        return cls(
            code=finding.code,
            severity=finding.severity,
            message=finding.message,
            facts=dict(finding.facts),
        )


class ClassAdviceView(ResponseModel):
    """The numbers of one class."""

    name: str = Field(examples=["boot"])
    train: int = Field(description="Training images.")
    holdout: int = Field(description="Images held out of training.")
    test: int = Field(description="Those of the holdout that the verdict is based on.")
    asked: int | None = Field(
        description="Images that the parent was asked about; null if it was not asked."
    )
    recognised: int | None = Field(description="Those of them that the parent recognised.")

    @classmethod
    def of(cls, advice: ClassAdvice) -> Self:
        """Return the view of one class's numbers."""
        images, recognised = advice.images, advice.recognised
        return cls(
            name=images.name,
            train=images.train,
            holdout=images.holdout,
            test=images.test,
            asked=recognised and recognised.asked,
            recognised=recognised and recognised.right,
        )


class AdviceView(ResponseModel):
    """Advice on an update that could start."""

    model: str = Field(examples=["demo"])
    parent_version: int | None = Field(description="Null while the model's root is imported.")
    dataset_version: DatasetVersionRef
    recipe: dict[str, Any] = Field(description="With every field.")
    classes: list[ClassAdviceView]
    steps: int = Field(examples=[48])
    expected_s: float | None = Field(
        examples=[180.0],
        description="Training and scoring, from earlier updates of this model; null if unknown.",
    )
    findings: list[FindingView]

    @classmethod
    def of(cls, advice: Advice) -> Self:
        """Return the view of advice."""
        order = advice.order
        return cls(
            model=advice.model.name,
            parent_version=advice.parent,
            dataset_version=DatasetVersionRef(dataset=order.dataset, version=order.dataset_version),
            recipe=order.recipe.to_json(),
            classes=[ClassAdviceView.of(one) for one in advice.classes],
            steps=advice.steps,
            expected_s=advice.seconds,
            findings=[FindingView.of(finding) for finding in advice.findings],
        )
