"""Versions of a model."""

from typing import Any, Literal, TypedDict

from perennial.types.jobs import DatasetVersionRef

Verdict = Literal["passed", "failed", "inconclusive"]
VersionStatus = Literal["candidate", "rejected", "promoted"]


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
    links: dict[str, str]
