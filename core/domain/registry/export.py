"""Exports: files of a version that other software loads."""

from dataclasses import dataclass
from datetime import datetime

from core.domain.export_format import ExportFormat
from core.domain.values import Digest, JobId, Json, ModelId
from core.errors import ExportDiffers


@dataclass(frozen=True, kw_only=True)
class Export:
    """The export of a version in a format; a version has at most one in each."""

    model: ModelId
    version: int
    format: ExportFormat
    artifact: Digest  # of the tar
    size: int  # bytes
    check: Json  # what `check.json` in the tar says
    job: JobId
    created_at: datetime


def require_equal(export_format: ExportFormat, check: Json) -> None:
    """Raise ExportDiffers if a feature of the exported files is too far from the version's.

    `check` has the smallest cosine over all images, `least_cosine_images`, and over all texts,
    `least_cosine_texts`.
    """
    bound = export_format.least_cosine
    for what in ("images", "texts"):
        found = check[f"least_cosine_{what}"]
        if found < bound:
            raise ExportDiffers(
                f"The exported files do not give the version's features: for {what}, the smallest "
                f"cosine is {found}, and {bound} is required. Nothing was kept.",
                **check,
            )
