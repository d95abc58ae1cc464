"""The protocol of writing and checking exports, which torch implements."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from core.jobs.rules import Monitor
from core.registry.exports import ExportFormat
from core.values import Digest, Json


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Images and texts about which both a version and its export are asked."""

    images: tuple[Digest, ...]  # stored images; empty: the exporter generates some
    texts: tuple[str, ...]


class Exporter(Protocol):
    def formats(self) -> Collection[ExportFormat]:
        """Return the formats whose libraries are installed here."""

    def write(
        self, version: Digest, export_format: ExportFormat, folder: Path, monitor: Monitor
    ) -> None:
        """Write the files of a version into an empty folder; the same version, the same bytes.

        What open_clip loads needs no exporter: see `write_folder`. Raises ArtifactMissing or
        ArtifactCorrupt.
        """

    def check(
        self,
        version: Digest,
        export_format: ExportFormat,
        folder: Path,
        samples: Samples,
        monitor: Monitor,
    ) -> Json:
        """Load the files as their users do, and compare their features with the version's.

        Return the smallest cosine over all images and over all texts, what they were, and the
        releases of the libraries: see `require_equal`.
        """
