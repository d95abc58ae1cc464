"""What trainers and evaluators read before they can begin; tools without torch read it too."""

from collections.abc import Iterable

from core.artifacts.store import Artifacts
from core.datasets.manifests import ManifestEntry
from core.evaluation.queries import EvalQuery
from core.registry.versions import Weights
from core.training.trainer import TrainingSpec
from core.values import Digest


def read_for_training(artifacts: Artifacts, spec: TrainingSpec) -> None:
    """The parent's weights and feature statistics, the root's weights and the images.

    Raises ArtifactMissing.
    """
    _read_weights(artifacts, {spec.parent, spec.root})
    for statistics in spec.feature_statistics.values():
        artifacts.get(statistics)
    _read_images(artifacts, (*spec.images, *spec.exemplars, *spec.reference))
    if spec.selection is not None:
        for question in (spec.selection.new, *spec.selection.kept):
            _read_images(artifacts, question.entries)


def read_for_answers(artifacts: Artifacts, version: Digest, questions: Iterable[EvalQuery]) -> None:
    """The version's weights and the images that it is asked about. Raises ArtifactMissing."""
    _read_weights(artifacts, {version})
    for question in questions:
        _read_images(artifacts, question.entries)


def put_statistics(artifacts: Artifacts, spec: TrainingSpec) -> dict[str, Digest]:
    """Store feature statistics of the update's classes; these and the parent's, by class."""
    own = {name: artifacts.put(f"features of {name}".encode()) for name in spec.classes}
    return {**spec.feature_statistics, **own}


def _read_weights(artifacts: Artifacts, versions: Iterable[Digest]) -> None:
    for version in versions:
        for tensor in Weights.from_bytes(artifacts.get(version)).tensors:
            artifacts.get(tensor.digest)


def _read_images(artifacts: Artifacts, entries: Iterable[ManifestEntry]) -> None:
    for form in {entry.artifact for entry in entries}:
        artifacts.get(form)
