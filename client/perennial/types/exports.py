"""Exports of versions."""

from typing import Any, TypedDict

from perennial.types.jobs import ExportFormat


class Export(TypedDict):
    """The export of a version in a format."""

    model: str
    version: int
    format: ExportFormat
    artifact: str  # SHA-256 of the tar
    size: int  # bytes
    check: dict[str, Any]  # the smallest cosines between features of the version and of the files
    job: str
    created_at: str
    links: dict[str, str]
