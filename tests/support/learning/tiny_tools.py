"""Tools without torch: they read what the real ones read, and vectors tell version and image."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence

from core.artifacts.store import Artifacts
from core.datasets.manifests import ManifestEntry
from core.evaluation.queries import EvalQuery
from core.jobs.rules import Monitor
from core.registry.versions import Weights
from core.training.trainer import TrainingSpec
from core.values import Digest, sha256
from core.vectors.embedder import FittedBridge, IndexComparison
from core.vectors.rules import (
    EmbeddingMap,
    Search,
    SearchedSuite,
    SearchRecalls,
    SuiteVectors,
    images_to_fit,
    map_of,
    sample_of,
)


def read_for_training(artifacts: Artifacts, spec: TrainingSpec) -> None:
    """The parent's weights and feature statistics, the root's weights and the images.

    Raises ArtifactMissing.
    """
    _read_weights(artifacts, {spec.parent, spec.root})
    for statistics in spec.feature_statistics.values():
        artifacts.get(statistics)
    _read_images(artifacts, (*spec.images, *spec.captioned, *spec.reference))
    _read_images(artifacts, (*spec.exemplars, *spec.captioned_exemplars))
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


WIDTH = 4


def vector(version: Digest, pixels: Digest) -> bytes:
    """A row of float32."""
    noise = bytes.fromhex(sha256(f"{version} {pixels}".encode()))
    return array("f", [value / 255 for value in noise[:WIDTH]]).tobytes()


class TinyEmbedder:
    """The port `Embedder`: it reads what the real one reads, and counts what it was asked."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self.embedded: list[Digest] = []  # pixels
        self.meanwhile: Callable[[], object] = lambda: None  # at the end of each part
        self.lost = 0.0  # share of searches that an old index loses, without and with the bridge

    def embed(
        self, version: Digest, parts: Sequence[Sequence[ManifestEntry]], monitor: Monitor
    ) -> Iterator[bytes]:
        """One row for each image."""
        total, done = sum(map(len, parts)), 0
        read_for_answers(self._artifacts, version, ())
        for part in parts:
            for entry in part:
                self._artifacts.get(entry.artifact)
            self.embedded += [entry.pixels for entry in part]
            done += len(part)
            monitor.advance("embedding", done, total)
            yield b"".join(vector(version, entry.pixels) for entry in part)
            self.meanwhile()

    def compare(
        self, old: Digest, new: Digest, suites: Sequence[SearchedSuite], monitor: Monitor
    ) -> IndexComparison:
        """Half of what an index loses comes back by the bridge."""
        queries = [part for suite in suites for part in (suite.validation, suite.test) if part]
        for version in (old, new):
            read_for_answers(self._artifacts, version, queries)
            monitor.advance("evaluating", 1, 1)
        self.meanwhile()
        return IndexComparison(
            bridge=FittedBridge(
                file=f"bridge from {old} to {new}".encode(),
                kind="orthogonal",
                images=len(images_to_fit(suites)),
                scores={"orthogonal": 0.99},
            ),
            searches=tuple(self._search(suite) for suite in suites if suite.test),
            vectors=tuple(_alike(suite) for suite in suites if suite.test),
            maps=tuple(_map_of(old, new, suite) for suite in suites if suite.test),
        )

    def _search(self, suite: SearchedSuite) -> SearchRecalls:
        count = 500 * len(suite.test.entries) if suite.test else 0  # queries, enough to be certain

        def found(lost: float) -> tuple[float, ...]:
            return tuple(float(number >= lost * count) for number in range(count))

        return SearchRecalls(
            suite=suite.name,
            search=Search.TEXT_TO_IMAGE,
            raw=found(self.lost),
            bridged=found(self.lost / 2),
            reembedded=found(0),
        )


def _alike(suite: SearchedSuite) -> SuiteVectors:
    return SuiteVectors(
        suite=suite.name,
        images=len(suite.test.entries) if suite.test else 0,
        cosine=0.9,
        bridged_cosine=0.95,
        neighbours_kept=0.8,
        neighbours_found=0.7,
        bridged_neighbours_found=0.75,
    )


def _map_of(old: Digest, new: Digest, suite: SearchedSuite) -> EmbeddingMap:
    assert suite.test
    rows = sample_of(len(suite.test.entries))
    entries = [suite.test.entries[row] for row in rows]
    before, now = (
        [array("f", vector(version, entry.pixels))[:2].tolist() for entry in entries]
        for version in (old, new)
    )
    return map_of(suite.name, suite.test, rows, (before, now), (0.5, 0.25))
