"""Ports for image vectors: what computes and compares them, and the rows of what is stored."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.domain.datasets.dataset import DatasetRef
from core.domain.datasets.manifest import ManifestEntry
from core.domain.values import Digest, ModelId
from core.domain.vectors.compatibility import SearchRecalls, SuiteVectors
from core.domain.vectors.embedding_map import EmbeddingMap
from core.domain.vectors.searched_suite import SearchedSuite
from core.domain.vectors.stored_vectors import IndexReport, StoredVectors
from core.ports.learning import Monitor


@dataclass(frozen=True, kw_only=True)
class FittedBridge:
    """A map of old vectors to new ones, as a safetensors file, and how it was chosen."""

    file: bytes
    kind: str
    images: int  # that it was fitted on
    scores: Mapping[str, float]  # mean cosine of each candidate on folds that it was not fitted on


@dataclass(frozen=True, kw_only=True)
class IndexComparison:
    """The searches of a new version in indexes of an old one's vectors."""

    bridge: FittedBridge
    searches: tuple[SearchRecalls, ...]
    vectors: tuple[SuiteVectors, ...]
    maps: tuple[EmbeddingMap, ...] = ()


class Embedder(Protocol):
    def compare(
        self, old: Digest, new: Digest, suites: Sequence[SearchedSuite], monitor: Monitor
    ) -> IndexComparison:
        """Fit a bridge between two versions' vectors, and search with and without it.

        The suites are searchable: see `require_searchable`. Raises ArtifactMissing,
        ArtifactCorrupt, OutOfMemory, AnswersNotFinite, and what the monitor raises.
        """

    def embed(
        self, version: Digest, parts: Sequence[Sequence[ManifestEntry]], monitor: Monitor
    ) -> Iterator[bytes]:
        """Yield the vectors of each part's images: little-endian float32 rows, L2-normalised.

        A part's bytes do not depend on the other parts. Raises what `compare` raises.
        """


class Vectors(Protocol):
    def put(self, stored: StoredVectors) -> None:
        """Store vectors in the place of those of the same images, if there are any."""

    def get(self, model: ModelId, version: int, dataset: DatasetRef) -> StoredVectors:
        """Return the vectors of a dataset version. Raises VectorsNotFound."""

    def all(self, model: ModelId, version: int) -> Sequence[StoredVectors]:
        """Return the vectors by a version, by dataset and dataset version."""

    def remove(self, model: ModelId, version: int, dataset: DatasetRef) -> None:
        """Delete vectors, whose bytes may be collected. Raises VectorsNotFound."""

    def remove_of(self, datasets: Collection[DatasetRef]) -> set[Digest]:
        """Delete the vectors of dataset versions by any version; return their files."""


class IndexReports(Protocol):
    def put(self, report: IndexReport) -> None:
        """Store a report in the place of the one about the same baseline, if there is one."""

    def get(self, model: ModelId, version: int, baseline: int) -> IndexReport:
        """Return the report about a baseline. Raises IndexReportNotFound."""

    def all(self, model: ModelId, version: int) -> Sequence[IndexReport]:
        """Return the reports of a version, by baseline."""

    def remove_of(self, sources: Collection[str]) -> set[Digest]:
        """Delete the reports that are based on any of some sources; return their files.

        A source is the id of a suite, or a dataset version: see `source_of`.
        """
