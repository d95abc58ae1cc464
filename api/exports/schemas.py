"""Schemas of exports."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from api.http.schemas import BY_TEXT, RequestModel, ResponseModel
from core.registry.exports import Export, ExportFormat


class NewExport(RequestModel):
    """An order to write a version in a format."""

    format: Annotated[ExportFormat, BY_TEXT] = Field(
        examples=["onnx"], description="What is to load the files."
    )


class ExportView(ResponseModel):
    """The export of a version in a format."""

    model: str = Field(examples=["demo"])
    version: int = Field(examples=[3])
    format: ExportFormat
    artifact: str = Field(description="SHA-256 of the tar, and its ETag.")
    size: int = Field(examples=[29_100_000], description="Bytes of the tar.")
    check: dict[str, Any] = Field(
        examples=[{"least_cosine_images": 0.999999, "least_cosine_texts": 0.999999, "images": 32}],
        description="What `check.json` in the tar says: the smallest cosines between features of "
        "the version and of the exported files.",
    )
    job: str = Field(description="The job that has made it.")
    created_at: datetime
    links: dict[str, str]


def export_view(export: Export, *, model: str) -> ExportView:
    """Return the view of an export."""
    version = f"/v1/models/{model}/versions/{export.version}"
    here = f"{version}/exports/{export.format}"
    links = {
        "self": here,
        "download": f"{here}/download",
        "version": version,
        "job": f"/v1/jobs/{export.job}",
    }
    return ExportView.of(export, model=model, links=links)


class ExportList(ResponseModel):
    """The exports of a version, by format."""

    data: list[ExportView]
