"""Exports: files of a version that other software loads."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from importlib.util import find_spec

from core.errors import ExportDiffers
from core.values import Digest, JobId, Json, ModelId

LEAST_COSINE = 0.9999  # between a feature of the version and that of its export
LEAST_COSINE_INT8 = 0.98


class ExportFormat(StrEnum):
    """The format of an export: what loads it."""

    OPEN_CLIP = "open_clip"  # open_clip
    HUGGINGFACE = "huggingface"  # CLIPModel and CLIPProcessor of transformers
    ONNX = "onnx"  # an ONNX runtime, one file for each tower
    ONNX_INT8 = "onnx_int8"  # the same with weights of 8 bits
    BUNDLE = "bundle"  # another Perennial, which checks its signature; and open_clip

    @property
    def least_cosine(self) -> float:
        """The least cosine between a feature of the version and that of a sound export."""
        return LEAST_COSINE_INT8 if self is ExportFormat.ONNX_INT8 else LEAST_COSINE

    @property
    def is_open_clip_folder(self) -> bool:
        """True if open_clip loads it."""
        return self in {ExportFormat.OPEN_CLIP, ExportFormat.BUNDLE}

    @property
    def libraries(self) -> tuple[str, ...]:
        """The modules that writing and checking it takes beside open_clip."""
        return _LIBRARIES.get(self, ())


_ONNX = ("onnx", "onnxscript", "onnxruntime")
_LIBRARIES: dict[ExportFormat, tuple[str, ...]] = {
    ExportFormat.HUGGINGFACE: ("transformers",),
    ExportFormat.ONNX: _ONNX,
    ExportFormat.ONNX_INT8: _ONNX,
}


def available_formats() -> list[ExportFormat]:
    """Return the formats whose libraries are installed; nothing is imported to find out."""
    return [each for each in ExportFormat if all(map(find_spec, each.libraries))]


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
