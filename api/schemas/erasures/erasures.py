"""Schemas of erasures and their certificates."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field, StringConstraints

from api.schemas.common import BY_TEXT, RequestModel, ResponseModel
from core.domain.erasure.erasure import Exposure, Retraining
from core.domain.erasure.status import ErasureStatus
from core.use_cases.erasure.progress import MarkedState, Progress

_Pixels = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class NewErasure(RequestModel):
    """Images to erase from everything that holds them."""

    images: list[_Pixels] = Field(
        min_length=1, max_length=1000, description="By the digests of their pixels."
    )
    reason: str = Field(
        pattern=r"\S", max_length=500, examples=["asked for by the person in the picture"]
    )
    retrain: Annotated[Retraining, BY_TEXT] = Field(
        Retraining.ALL,
        description="Which marked versions are trained again without the images: all, aliased "
        "(those that aliases point at, and their ancestors) or none.",
    )


class MarkedVersionView(ResponseModel):
    """A version that learned from erased images."""

    model: str = Field(examples=["demo"])
    version: int = Field(examples=[3])
    learned: Exposure = Field(
        description="taught; distilled (a reference set); chosen (a validation image, by which a "
        "mixing weight was chosen); inherited (from the version that it was trained from)."
    )
    replaced_by: int | None = Field(examples=[5])
    waits: bool = Field(description="Whether an update that will replace it has not ended.")
    obstacle: str | None = Field(
        description="The code of what kept it from being trained again; null without any.",
        examples=["too_few_per_class"],
    )

    @classmethod
    def of(cls, one: MarkedState) -> Self:
        """Return the view of a marked version."""
        return cls(
            model=one.marked.name,
            version=one.marked.number,
            learned=one.marked.learned,
            replaced_by=one.by.number if one.by else None,
            waits=one.waits,
            obstacle=one.marked.obstacle,
        )


class MarkedAlias(ResponseModel):
    """An alias that still points at a marked version."""

    model: str = Field(examples=["demo"])
    alias: str = Field(examples=["production"])
    version: int = Field(examples=[3])


class ErasureView(ResponseModel):
    """An erasure and how far it has come."""

    id: str = Field(examples=["era_0199c2a4e1b7d3f4a5b6c7d8e9f0"])
    status: ErasureStatus
    images: list[str]
    reason: str
    retrain: Retraining
    ordered_by: str
    job: str = Field(description="The job that erases; the updates have metadata 'erasure'.")
    created_at: datetime
    erased_at: datetime | None = Field(description="From then on nothing reads the images.")
    versions: list[MarkedVersionView]
    aliases: list[MarkedAlias] = Field(
        description="They stay where they are until they are moved, which the gate has to allow."
    )
    links: dict[str, str]

    @classmethod
    def of(cls, progress: Progress) -> Self:
        """Return the view of an erasure."""
        erasure = progress.erasure
        here = f"/v1/erasures/{erasure.id}"
        links = {
            "self": here,
            "job": f"/v1/jobs/{erasure.job}",
            "updates": f"/v1/jobs?metadata=erasure:{erasure.id}",
        }
        if progress.status.ended:
            links["certificate"] = f"{here}/certificate"
        return cls(
            id=erasure.id,
            status=progress.status,
            images=list(erasure.images),
            reason=erasure.reason,
            retrain=erasure.retraining,
            ordered_by=erasure.actor,
            job=erasure.job,
            created_at=erasure.created_at,
            erased_at=erasure.erased_at,
            versions=[MarkedVersionView.of(one) for one in progress.versions],
            aliases=[
                MarkedAlias(model=model, alias=alias.name, version=alias.version)
                for model, alias in progress.aliases
            ],
            links=links,
        )
