"""Schemas of erasures and their certificates."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from api.http.schemas import BY_TEXT, RequestModel, ResponseModel
from core.erasure.order import Progress
from core.erasure.rules import ErasureStatus, Exposure, Retraining

_Pixels = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class IdentifiedImage(ResponseModel):
    """An image file and the digest of its pixels."""

    file: str
    pixels: str


class IdentifiedImages(ResponseModel):
    """Image files in the order in which they were sent."""

    data: list[IdentifiedImage]


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

    model: str = Field(validation_alias="name", examples=["demo"])
    version: int = Field(validation_alias="number", examples=[3])
    learned: Exposure = Field(
        description="taught; distilled (a reference set); chosen (a validation image, by which a "
        "mixing weight was chosen); inherited (from the version that it was trained from); copied "
        "(it has the weights of a version that did, or came by a bundle from one)."
    )
    replaced_by: int | None = Field(examples=[5])
    waits: bool = Field(description="Whether an update that will replace it has not ended.")
    obstacle: str | None = Field(
        description="The code of what kept it from being trained again; null without any.",
        examples=["too_few_per_class"],
    )


class MarkedAlias(ResponseModel):
    """An alias that still points at a marked version."""

    model: str = Field(examples=["demo"])
    alias: str = Field(examples=["production"])
    version: int = Field(examples=[3])
    next_step: str = Field(examples=["Promote version 5, which replaces it."])


class ErasureView(ResponseModel):
    """An erasure and how far it has come."""

    id: str = Field(examples=["era_0199c2a4e1b7d3f4a5b6c7d8e9f0"])
    status: ErasureStatus
    images: list[str]
    reason: str
    retrain: Retraining = Field(validation_alias="retraining")
    ordered_by: str = Field(validation_alias="actor")
    job: str = Field(description="The job that erases; the updates have metadata 'erasure'.")
    created_at: datetime
    erased_at: datetime | None = Field(description="From then on nothing reads the images.")
    versions: list[MarkedVersionView]
    aliases: list[MarkedAlias] = Field(
        description="They stay where they are until they are moved, which the gate has to allow."
    )
    links: dict[str, str]


def erasure_view(progress: Progress) -> ErasureView:
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
    return ErasureView.of(
        erasure,
        status=progress.status,
        versions=[
            MarkedVersionView.of(
                one.marked, waits=one.waits, replaced_by=one.by.number if one.by else None
            )
            for one in progress.versions
        ],
        aliases=[
            MarkedAlias(model=model, alias=alias.name, version=alias.version, next_step=step)
            for model, alias, step in progress.live
        ],
        links=links,
    )


# Certificates.


class ErasedImage(ResponseModel):
    """An erased image."""

    pixels: str
    stored_as: list[str] = Field(description="Artifacts that held it.")
    in_store: bool = Field(description="Whether one of them is in the store now.")


class ReplacedDatasetVersion(ResponseModel):
    """A dataset version that held erased images."""

    dataset: str = Field(examples=["products"])
    version: int = Field(examples=[1])
    removed: int = Field(examples=[1], description="Images.")
    replaced_by: int = Field(
        examples=[2], description="The version with the rest of the images; 0: none is left."
    )


class ReplacedVersion(ResponseModel):
    """A version that learned from erased images, and what replaces it."""

    model: str = Field(examples=["demo"])
    version: int = Field(examples=[3])
    learned: Exposure
    digest: str
    exports: list[str] = Field(
        examples=[["onnx"]], description="Formats of its exports that are stored now."
    )
    environment: dict[str, str] | None = Field(
        description="It was trained in; null if it was deleted since."
    )
    replaced_by: int | None = Field(examples=[5])
    digest_after: str | None
    environment_after: dict[str, str] | None
    exact: bool | None = Field(
        description="Whether its replacement and all that this was trained from were trained in "
        "`environment_after` without interruption by another one. Null without a replacement."
    )
    cleared: bool = Field(
        description="Whether training without the images gave the same weights, so that they left "
        "no trace: the version is not marked any more."
    )
    obstacle: str | None = Field(
        description="The code of what kept it from being trained again; null without any."
    )


class Remainder(ResponseModel):
    """A place that the service cannot reach, and the copies that may be there."""

    where: str = Field(examples=["back_ups"])
    what: str


class CertificateView(ResponseModel):
    """A certificate: the images taken back, versions and their replacements, and what remains."""

    erasure: str = Field(examples=["era_0199c2a4e1b7d3f4a5b6c7d8e9f0"])
    status: ErasureStatus
    reason: str
    ordered_by: str
    ordered_at: datetime
    erased_at: datetime
    images: list[ErasedImage]
    drafts: list[str] = Field(description="Datasets whose drafts held an image.")
    dataset_versions: list[ReplacedDatasetVersion]
    suites: list[str] = Field(
        description="Suites that held an image: versions are asked about the others only."
    )
    near_duplicates: list[str] = Field(
        description="Images that look like an erased one and are kept: erase them as well if they "
        "show the same."
    )
    trials: list[str] = Field(
        examples=[["trial_0199c0d1e2f3a4b5c6d7e8f9"]],
        description="Trials that had kept an image as a sample.",
    )
    versions: list[ReplacedVersion]
    aliases: list[MarkedAlias] = Field(description="That point at marked versions now.")
    remains: list[Remainder]
    exactness: str
