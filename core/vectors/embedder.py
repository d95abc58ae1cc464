"""The protocol of computing and comparing vectors, which torch implements."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.datasets.manifests import ManifestEntry
from core.jobs.rules import Monitor
from core.values import Digest
from core.vectors.rules import EmbeddingMap, SearchedSuite, SearchRecalls, SuiteVectors


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
