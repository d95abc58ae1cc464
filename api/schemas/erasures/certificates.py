"""Schemas of the certificates of erasures."""

from datetime import datetime

from pydantic import Field

from api.schemas.common import ResponseModel
from api.schemas.erasures.erasures import MarkedAlias
from core.domain.erasure.erasure import Exposure
from core.domain.erasure.status import ErasureStatus


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
