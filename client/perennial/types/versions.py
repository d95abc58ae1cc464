"""Versions of a model."""

from typing import Any, Literal, TypedDict

from perennial.types.jobs import DatasetVersionRef

Verdict = Literal["passed", "failed", "inconclusive"]
VersionStatus = Literal["candidate", "rejected", "promoted"]


class Origin(TypedDict):
    """The version of another service that a version was imported as."""

    model: str  # its name there
    version: int  # its number there
    signed_by: str  # the trusted key's name
    key_id: str
    bundle: str  # SHA-256


class Version(TypedDict):
    """A version of a model."""

    model: str
    version: int
    status: VersionStatus
    verdict: Verdict | None
    overridden: bool
    digest: str
    size: int  # bytes of all tensors
    parent: int | None
    job: str
    recipe: dict[str, Any] | None
    dataset: str | None
    dataset_version: int | None
    update_classes: list[str]
    classes: list[str]
    prompt: str
    environment: dict[str, str]
    environments: list[dict[str, str]]
    exact: bool | None
    reference: DatasetVersionRef | None
    notes: dict[str, Any]
    created_at: str
    collected_at: str | None
    erasure: str | None
    replaces: int | None
    imported_from: Origin | None
    links: dict[str, str]
