"""Erasures of images and their certificates."""

from typing import Literal, TypedDict

ErasureStatus = Literal["erasing", "failed", "retraining", "incomplete", "done"]
Retraining = Literal["all", "aliased", "none"]
Exposure = Literal["taught", "distilled", "chosen", "inherited"]


class MarkedVersion(TypedDict):
    """A version that learned from erased images."""

    model: str
    version: int
    learned: Exposure
    replaced_by: int | None
    waits: bool
    obstacle: str | None


class MarkedAlias(TypedDict):
    """An alias that still points at a marked version."""

    model: str
    alias: str
    version: int


class Erasure(TypedDict):
    """An erasure and how far it has come."""

    id: str
    status: ErasureStatus
    images: list[str]
    reason: str
    retrain: Retraining
    ordered_by: str
    job: str
    created_at: str
    erased_at: str | None
    versions: list[MarkedVersion]
    aliases: list[MarkedAlias]
    links: dict[str, str]


class ErasedImage(TypedDict):
    """An erased image."""

    pixels: str
    stored_as: list[str]
    in_store: bool


class ReplacedDatasetVersion(TypedDict):
    """A dataset version that held erased images."""

    dataset: str
    version: int
    removed: int
    replaced_by: int  # 0: none is left


class ReplacedVersion(TypedDict):
    """A version that learned from erased images, and what replaces it."""

    model: str
    version: int
    learned: Exposure
    digest: str
    exports: list[str]  # formats of those that are stored now
    environment: dict[str, str] | None
    replaced_by: int | None
    digest_after: str | None
    environment_after: dict[str, str] | None
    exact: bool | None
    obstacle: str | None


class Remainder(TypedDict):
    """A place that the service cannot reach, and the copies that may be there."""

    where: str
    what: str


class Certificate(TypedDict):
    """A certificate: the images taken back, versions and their replacements, and what remains."""

    erasure: str
    status: ErasureStatus
    reason: str
    ordered_by: str
    ordered_at: str
    erased_at: str
    images: list[ErasedImage]
    drafts: list[str]
    dataset_versions: list[ReplacedDatasetVersion]
    suites: list[str]
    near_duplicates: list[str]
    trials: list[str]  # that had kept one of the images as a sample
    versions: list[ReplacedVersion]
    aliases: list[MarkedAlias]
    remains: list[Remainder]
    exactness: str
