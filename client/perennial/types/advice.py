"""Advice on an update before it is ordered."""

from typing import Any, Literal, TypedDict

from perennial.types.jobs import DatasetVersionRef

Severity = Literal["info", "warning"]


class Finding(TypedDict):
    """Something to consider before an update is ordered."""

    code: str
    severity: Severity
    message: str
    facts: dict[str, Any]


class ClassAdvice(TypedDict):
    """The numbers of one class."""

    name: str
    train: int  # training images
    holdout: int
    test: int  # images of the holdout that the verdict is based on
    asked: int | None  # images that the parent was asked about
    recognised: int | None  # those of them that it recognised


class Advice(TypedDict):
    """Advice on an update that could start."""

    model: str
    parent_version: int | None
    dataset_version: DatasetVersionRef
    recipe: dict[str, Any]
    classes: list[ClassAdvice]
    steps: int
    expected_s: float | None  # None: unknown
    findings: list[Finding]
