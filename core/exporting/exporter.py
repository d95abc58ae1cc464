"""Exports of versions in the formats of other software."""

from collections.abc import Callable, Collection
from pathlib import Path

from core.clip.model import ClipModel
from core.clip.torch_environment import release_of
from core.clip.weights import load
from core.domain.export_format import ExportFormat
from core.domain.values import Digest, Json
from core.exporting.available_formats import available_formats
from core.exporting.comparison import compare
from core.exporting.huggingface_folder import load_huggingface, write_huggingface
from core.exporting.onnx_folder import load_onnx, write_onnx
from core.exporting.onnx_int8 import round_weights
from core.exporting.open_clip_folder import load_open_clip
from core.exporting.towers import Towers
from core.exporting.while_computing import while_computing
from core.ports import Artifacts, Monitor, Samples

ALWAYS = ("torch", "open_clip_torch")


class VersionExporter:
    """The port `Exporter` on torch, on the CPU."""

    def __init__(self, artifacts: Artifacts, *, threads: int = 0) -> None:
        """Create an exporter; with 0 threads, the libraries decide how many to use."""
        self._artifacts = artifacts
        self._threads = threads

    def formats(self) -> Collection[ExportFormat]:
        """Return the formats whose libraries are installed here."""
        return available_formats()

    def write(
        self, version: Digest, export_format: ExportFormat, folder: Path, monitor: Monitor
    ) -> None:
        """Write the files of a version. Raises ArtifactMissing or ArtifactCorrupt."""
        model = self._load(version, monitor)
        write = _WRITERS[export_format]
        while_computing(lambda: write(model, folder), monitor)

    def check(
        self,
        version: Digest,
        export_format: ExportFormat,
        folder: Path,
        samples: Samples,
        monitor: Monitor,
    ) -> Json:
        """Load the files as their users do, and compare their features with the version's."""
        model = self._load(version, monitor)
        towers = while_computing(lambda: self._open(export_format, folder, model), monitor)
        found = compare(self._artifacts, model, towers, samples, monitor)
        names = (*ALWAYS, *export_format.libraries)
        return {**found, "libraries": {name: release_of(name) for name in names}}

    def _load(self, version: Digest, monitor: Monitor) -> ClipModel:
        return load(version, self._artifacts, moved=monitor.moved).freeze()

    def _open(self, export_format: ExportFormat, folder: Path, model: ClipModel) -> Towers:
        if export_format is ExportFormat.HUGGINGFACE:
            return load_huggingface(folder)
        if export_format.is_open_clip_folder:
            return load_open_clip(folder)
        return load_onnx(folder, model, self._threads)


def _write_int8(model: ClipModel, folder: Path) -> None:
    write_onnx(model, folder)
    round_weights(folder)


_WRITERS: dict[ExportFormat, Callable[[ClipModel, Path], None]] = {
    ExportFormat.HUGGINGFACE: write_huggingface,
    ExportFormat.ONNX: write_onnx,
    ExportFormat.ONNX_INT8: _write_int8,
}
