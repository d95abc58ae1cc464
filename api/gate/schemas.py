"""Schemas of suites and gate policies."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import AliasPath, Field

from api.http.schemas import (
    BY_TEXT,
    ClassName,
    Name,
    Number,
    Prompt,
    Reference,
    RequestModel,
    ResponseModel,
)
from core.datasets.rules import SuiteKind
from core.gate.rules import GatePolicy
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


class SuiteView(ResponseModel):
    """A suite, whose images never change."""

    id: str
    name: str = Field(examples=["unseen-emoji"])
    kind: SuiteKind
    digest: str = Field(validation_alias="manifest", description="SHA-256 of the manifest.")
    classes: list[str]
    images: int
    prompt: str = Field(validation_alias=AliasPath("prompt", "text"))
    created_at: datetime
    retired_at: datetime | None = Field(
        description="Since when it judges no model, and its images may be trained on."
    )


class NewPolicy(RequestModel):
    """A policy to create: how much a version may forget. Fractions of 1, so 0.03 is 3 points."""

    name: Name = Field(examples=["small-model"])
    parent_tolerance: float = Field(0.03, ge=0, le=1)
    root_tolerance: float = Field(0.05, ge=0, le=1)
    union_tolerance: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Zero-shot suites, against the parent and the live version, with all classes "
        "that the version has learned to choose from too. Against the root, they may lose this or "
        "`root_tolerance`, whichever is larger.",
    )
    holdout_tolerance: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Holdouts of other updates, against the parent and the live version: with the "
        "classes of their time, and with all that the version has learned to choose from.",
    )
    settled_tolerance: float = Field(
        0.08,
        ge=0,
        le=1,
        description="Holdouts of other updates, against the settled version: the first after the "
        "holdout's own version that went live, or that one itself.",
    )
    wanted_gain: float = Field(0.0, ge=0, le=1)
    minimum_count: int = Field(
        500,
        ge=1,
        le=1_000_000,
        description="Test images, near-duplicates counted once, from which on the whole interval "
        "must be within tolerance. Of a measure with fewer less is asked, and it alone lets no "
        "version pass.",
    )
    alpha: float = Field(0.005, gt=0, le=0.2)
    line_error: float | None = Field(
        None,
        ge=0.001,
        le=0.5,
        description="Bound on the chance that any version of a line passes although it is beyond "
        "a tolerance of a suite. The verdicts by the same test images share it. Null: each verdict "
        "is judged as if it were the only one.",
    )
    line_updates: int = Field(
        100,
        ge=1,
        le=100_000,
        description="Number of verdicts after which half of `line_error` is spent.",
    )
    negative_flips: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Limit for the share of a suite's formerly right predictions that are wrong "
        "now, compared with the parent and the live version. Null: not judged.",
    )
    same_names: list[Annotated[list[ClassName], Field(min_length=2, max_length=2)]] = Field(
        [],
        max_length=100,
        description="Pairs of class names that mean the same: an answer of one counts for the "
        "other, whatever the case. The report of a version lists pairs to consider.",
        examples=[[["bag", "handbag"]]],
    )
    reason: str = Field("", max_length=500)

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
