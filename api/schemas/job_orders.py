"""Schemas of the orders of jobs."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from api.schemas.common import Number, RequestModel
from api.schemas.recipes import RecipeFields
from core.domain.datasets.dataset import DatasetRef
from core.domain.jobs.order import UpdateOrder
from core.domain.recipes.recipe import Recipe
from core.domain.values import DatasetId

Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    Field(max_length=16),
]


Priority = Annotated[
    int,
    Field(
        ge=0,
        le=9,
        examples=[5],
        description="Among the next jobs of all models, the highest priority runs first. Jobs of "
        "the same model run in the order they were placed, whatever their priorities.",
    ),
]


class ReferenceSet(RequestModel):
    """A captioned or labelled dataset version whose images method 'zscl' distils."""

    dataset: str = Field(examples=["captions"], description="Name or id of the dataset.")
    version: Number = Field(examples=[1])

    def named(self) -> DatasetRef:
        """Return the reference set as a domain object."""
        return DatasetRef(dataset=DatasetId(self.dataset), version=self.version)


class NewUpdate(RequestModel):
    """An order to teach a model the classes of a dataset version."""

    type: Literal["update"]
    model: str = Field(examples=["demo"])
    dataset: str = Field(examples=["products"])
    dataset_version: Number = Field(examples=[1])
    recipe: RecipeFields = Field(default_factory=dict)
    parent: Number | None = Field(
        None, description="Default: the alias's version when the job starts."
    )
    alias: str = "production"
    auto_promote: bool = True
    prompt: str | None = Field(None, examples=["a photo of a {name}."])
    reference: ReferenceSet | None = Field(
        None, description="Required by method 'zscl', refused for others."
    )
    priority: Priority = 0
    metadata: Metadata = Field(default_factory=dict)

    def order(self) -> UpdateOrder:
        """Return the order as a domain object. Raises RecipeInvalid."""
        return UpdateOrder(
            dataset=DatasetId(self.dataset),
            dataset_version=self.dataset_version,
            recipe=Recipe.from_json(self.recipe),
            alias=self.alias,
            parent=self.parent,
            auto_promote=self.auto_promote,
            prompt=self.prompt,
            reference=self.reference.named() if self.reference else None,
        )


class NewEvaluation(RequestModel):
    """An order to score a version again, by the model's present suites and policy."""

    type: Literal["evaluate"]
    model: str = Field(examples=["demo"])
    version: Number = Field(examples=[2])
    alias: str = Field(
        "production",
        description="The version is also compared with this alias's live version, unless it "
        "descends from it.",
    )
    priority: Priority = 0


NewJob = Annotated[NewUpdate | NewEvaluation, Field(discriminator="type")]
