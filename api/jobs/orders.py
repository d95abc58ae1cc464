"""Schemas of the orders of jobs, and that of recipes, which `Recipe` itself checks."""

from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, WithJsonSchema
from pydantic.config import JsonDict
from typing_extensions import TypeAliasType

from api.http.schemas import BY_TEXT, Number, Prompt, Reference, RequestModel
from core.datasets.image_lists import LEAST_GROUPS, MOST_GROUPS, Grouping
from core.datasets.rules import DatasetRef
from core.jobs.orders import BlameOrder, ConvertOrder, UpdateOrder
from core.recipes.presets import PRESETS
from core.recipes.rules import Recipe
from core.registry.versions import ServingPrecision
from core.values import DatasetId

Schema = dict[str, Any]


def _schema() -> Schema:
    defaults = Recipe().to_json()
    preset = {
        "type": "string",
        "enum": sorted(PRESETS),
        "description": (
            "Values to start from instead of the model's default recipe; other fields override "
            "them."
        ),
    }
    described = {
        field.name: {
            **field.metadata["kind"].schema,
            "description": field.metadata["description"],
            "default": defaults[field.name],
        }
        for field in fields(Recipe)
    }
    return {
        "type": "object",
        "title": "Recipe",
        "additionalProperties": False,
        "properties": {"preset": preset, **described},
        "description": (
            "Fields that differ from the model's `default_recipe`; each `default` here is that of "
            "small models other than ConvNeXts. What a default has chosen for its part (`part`, "
            "`augment`, `epochs`, `replay_weight`) gives way to another `method` or `part`, "
            "or to no `exemplars`. Versions store the recipe with every field."
        ),
        "examples": [
            {"method": "vrlwf", "epochs": 6, "replay_weight": 24.0},
            {"preset": "released", "epochs": 5},
        ],
    }


RECIPE_SCHEMA = _schema()

# By its name, the document has the schema once.
RecipeFields = TypeAliasType(
    "RecipeFields", Annotated[dict[str, Any], WithJsonSchema(RECIPE_SCHEMA)]
)


# Orders.

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


def _without_default(schema: JsonDict) -> None:
    schema.pop("default")


class ReferenceSet(RequestModel):
    """A captioned or labelled dataset version whose images method 'zscl' distils."""

    dataset: Reference = Field(examples=["captions"], description="Name or id of the dataset.")
    version: Number = Field(examples=[1])

    def named(self) -> DatasetRef:
        """Return the reference set as a domain object."""
        return DatasetRef(dataset=DatasetId(self.dataset), version=self.version)


class TaughtCaptions(RequestModel):
    """A captioned dataset version that is taught beside the classes of another."""

    dataset: Reference = Field(examples=["photos"], description="Name or id of the dataset.")
    version: Number | None = Field(
        None,
        examples=[1],
        description="Default: the dataset's present images, which become a version unless the "
        "newest has the same.",
    )

    def named(self) -> DatasetRef:
        """Return the dataset version as a domain object; 0 until it is frozen."""
        return DatasetRef(dataset=DatasetId(self.dataset), version=self.version or 0)


AutoPromote = Annotated[  # its default is the caller's: see `_promotes`
    bool,
    Field(
        json_schema_extra=_without_default,
        description="Move the alias when the version passes the gate. True takes the role "
        "operator, for which it is the default; for lower roles false is.",
    ),
]


class NewUpdate(RequestModel):
    """An order to teach a model the classes or captions of a dataset version, or both of two."""

    type: Literal["update"]
    model: Reference = Field(examples=["demo"])
    dataset: Reference = Field(examples=["products"])
    dataset_version: Number | None = Field(
        None,
        examples=[1],
        description="Default: the dataset's present images, which become a version unless the "
        "newest has the same. If the order is refused, nothing is frozen.",
    )
    recipe: RecipeFields = Field(default_factory=dict)
    force: bool = Field(
        False,
        description="Learn at a rate that is more than ten times that of the model's default "
        "recipe, which else is 422 `recipe_unsafe`. A retry repeats it.",
    )
    parent: Number | None = Field(
        None, description="Default: the alias's version when the job starts."
    )
    alias: Reference = "production"
    auto_promote: AutoPromote = True
    prompt: Prompt | None = Field(
        None,
        examples=["a photo of a {name}."],
        description="Default: the parent's, which is the only choice once it has learned a class, "
        "and for captions.",
    )
    captions: TaughtCaptions | None = Field(
        None,
        description="Captions to teach beside the classes of `dataset`: one update learns and is "
        "judged by both.",
    )
    reference: ReferenceSet | None = Field(
        None, description="Required by method 'zscl', refused for others."
    )
    priority: Priority = 0
    metadata: Metadata = Field(default_factory=dict)

    def order(self, *, promotes: bool = False) -> UpdateOrder:
        """Return the order as a domain object. Raises RecipeInvalid.

        `promotes` is the default of `auto_promote`: whether the caller may move aliases. An order
        without a version names 0, until `order_update` freezes one.
        """
        return UpdateOrder(
            dataset=DatasetId(self.dataset),
            dataset_version=self.dataset_version or 0,
            recipe=Recipe.from_json(self.recipe),
            given=self.recipe,
            force=self.force,
            alias=self.alias,
            parent=self.parent,
            auto_promote=_promotes(self, promotes),
            prompt=self.prompt,
            captions=self.captions.named() if self.captions else None,
            reference=self.reference.named() if self.reference else None,
        )


class NewConversion(RequestModel):
    """An order to make a version of another one's tensors, computed in another precision."""

    type: Literal["convert"]
    model: Reference = Field(examples=["demo"])
    version: Number | None = Field(
        None, examples=[3], description="Default: the alias's version when the job starts."
    )
    precision: Annotated[ServingPrecision, BY_TEXT] = Field(examples=["bf16"])
    alias: Reference = "production"
    auto_promote: AutoPromote = True
    priority: Priority = 0
    metadata: Metadata = Field(default_factory=dict)

    def order(self, *, promotes: bool = False) -> ConvertOrder:
        """Return the order as a domain object; `promotes` is the default of `auto_promote`."""
        return ConvertOrder(
            precision=self.precision,
            alias=self.alias,
            parent=self.version,
            auto_promote=_promotes(self, promotes),
        )


def _promotes(order: NewUpdate | NewConversion, promotes: bool) -> bool:
    return order.auto_promote if "auto_promote" in order.model_fields_set else promotes


class NewEvaluation(RequestModel):
    """An order to score a version again, by the model's present suites and policy."""

    type: Literal["evaluate"]
    model: Reference = Field(examples=["demo"])
    version: Number = Field(examples=[2])
    alias: Reference = Field(
        "production",
        description="The version is also compared with this alias's live version, unless that "
        "descends from it.",
    )
    priority: Priority = 0


class NewBlame(RequestModel):
    """An order to find which images of a version's update cost a class its accuracy."""

    type: Literal["blame"]
    model: Reference = Field(examples=["demo"])
    version: Number = Field(examples=[2], description="Whose update is trained again.")
    class_name: str | None = Field(
        None,
        alias="class",
        max_length=100,
        examples=["okapi"],
        description="Default: each class that has fallen since the version's parent.",
    )
    by: Annotated[Grouping, BY_TEXT] = Field(
        Grouping.UPLOAD,
        description="What the images of a group have in common: the request or import that brought "
        "them, or their class. `random` groups have a share of every class each.",
    )
    groups: int = Field(
        5,
        ge=LEAST_GROUPS,
        le=MOST_GROUPS,
        description="At most so many groups. The update is trained once without each of them. If "
        "there are more uploads or classes, neighbouring ones share a group.",
    )
    suite: str | None = Field(
        None,
        max_length=100,
        description="Ask only about the images of this suite, or of `version 2`, the holdout of "
        "its update. Default: about those of all suites and of the line's holdouts.",
    )
    priority: Priority = 0
    metadata: Metadata = Field(default_factory=dict)

    def order(self) -> BlameOrder:
        """Return the order as a domain object."""
        asked = {"version", "class_name", "by", "groups", "suite"}
        return BlameOrder(**self.model_dump(include=asked))


NewJob = Annotated[
    NewUpdate | NewConversion | NewEvaluation | NewBlame, Field(discriminator="type")
]
