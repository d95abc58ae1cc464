"""Schemas of suites and gate policies."""

from datetime import datetime
from typing import Annotated, Any, Self, TypeVar, get_type_hints

from pydantic import AliasPath, Field, create_model

from api.http.schemas import (
    BY_TEXT,
    ClassName,
    Name,
    Number,
    Prompt,
    Reason,
    Reference,
    RequestModel,
    ResponseModel,
)
from core.datasets.rules import SuiteKind
from core.gate.fields import defaults_of
from core.gate.rules import LIMITS, GatePolicy
from core.recipes.fields import DEFAULT_PROMPT
from core.values import PolicyId


class NewSuite(RequestModel):
    """A suite to create from all images of a dataset version."""

    name: Name = Field(examples=["unseen-emoji"])
    kind: Annotated[SuiteKind, BY_TEXT] = Field(examples=["zero_shot"])
    dataset: Reference = Field(examples=["unseen-emoji"])
    dataset_version: Number | None = Field(
        None,
        examples=[1],
        description="Default: the dataset's present images, which become a version unless the "
        "newest has the same. If the suite is refused, nothing is frozen.",
    )
    prompt: Prompt | None = Field(
        None,
        description="Prompt template; not used for retrieval. Default: that of the models' first "
        f"versions if all have the same, else `{DEFAULT_PROMPT.text}`",
    )
    mirror: bool = Field(
        False,
        description="Whether half of the views that a policy asks about may be mirrored. Not if "
        "images have letters, or a left and a right, as maps and road signs do. Zero-shot only.",
    )
    classes: list[ClassName] = Field(
        [],
        max_length=5000,
        description="The classes to choose from, of an unlabelled suite. Others have those of "
        "their images.",
        examples=[["ankle boot", "bag"]],
    )


class SuiteImages(RequestModel):
    """Images to add to a suite or holdout: all of a dataset version that are not there yet."""

    dataset: Reference = Field(
        examples=["more-emoji"],
        description="Of the suite's kind, with images of its classes alone, or of those that the "
        "update was taught. It may be the dataset that the suite was made of.",
    )
    dataset_version: Number | None = Field(
        None,
        examples=[1],
        description="Default: the dataset's present images, which become a version unless the "
        "newest has the same. If they are refused, nothing is frozen.",
    )
    reason: Reason = Field("", description="Required: why, kept in the audit log.")


class SuiteView(ResponseModel):
    """An edition of a suite, whose images never change."""

    id: str
    name: str = Field(
        examples=["unseen-emoji"],
        description="Of all editions. Images added to a holdout are called such as `holdout of "
        "demo:2`, and are in no list of suites.",
    )
    edition: int = Field(examples=[1], description="1, and one more each time that it grows.")
    kind: SuiteKind
    digest: str = Field(validation_alias="manifest", description="SHA-256 of the manifest.")
    classes: list[str]
    images: int
    prompt: str = Field(validation_alias=AliasPath("prompt", "text"))
    mirror: bool = Field(description="Whether views of the images may be mirrored.")
    created_at: datetime
    grown_into: str | None = Field(
        description="The id of the next edition, which judges in the place of this one."
    )
    retired_at: datetime | None = Field(
        description="Since when it judges no model, and its images may be trained on."
    )


T = TypeVar("T", bound=RequestModel)


def _with_limits(schema: type[T]) -> type[T]:
    """Return a schema that has also the numbers of a gate policy."""
    types, defaults = get_type_hints(GatePolicy), defaults_of(GatePolicy)
    numbers: dict[str, Any] = {
        name: (
            types[name],
            Field(
                defaults[name],
                ge=None if limit.above_low else limit.low,
                gt=limit.low if limit.above_low else None,
                le=limit.high,
                description=limit.description or f"{limit.label}.",
            ),
        )
        for name, limit in LIMITS.items()
    }
    return create_model(
        schema.__name__, __base__=schema, __doc__=schema.__doc__, __module__=__name__, **numbers
    )


@_with_limits
class NewPolicy(RequestModel):
    """A policy to create: how much a version may forget. Fractions of 1, so 0.03 is 3 points."""

    name: Name = Field(examples=["small-model"])
    same_names: list[Annotated[list[ClassName], Field(min_length=2, max_length=2)]] = Field(
        [],
        max_length=100,
        description="Pairs of class names that mean the same: an answer of one counts for the "
        "other, whatever the case, and their images are one class where single classes are judged. "
        "The report of a version lists pairs to consider.",
        examples=[[["bag", "handbag"]]],
    )
    reason: Reason = Field(
        "",
        description="Required: why its limits are what they are, shown in every report.",
        examples=["our suites have 300 images; 6 points are what they can show"],
    )

    def policy(self, policy_id: PolicyId, now: datetime) -> GatePolicy:
        """Return the policy as a domain object."""
        pairs = tuple((one, other) for one, other in self.same_names)
        given = self.model_dump() | {"same_names": pairs}
        return GatePolicy(id=policy_id, created_at=now, **given)


class PolicyView(NewPolicy):
    """A gate policy, which never changes."""

    id: str
    created_at: datetime

    @classmethod
    def of(cls, policy: GatePolicy) -> Self:
        """Return the view of a policy."""
        return cls(**vars(policy) | {"same_names": [list(pair) for pair in policy.same_names]})
