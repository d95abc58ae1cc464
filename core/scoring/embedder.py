"""Vectors of images by a version, and their comparison with another version's."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial

import torch
from safetensors.torch import save
from torch import Tensor

from core.artifacts.store import Artifacts
from core.clip.compile import GraphCompiler
from core.clip.inputs import DecodedImages
from core.clip.machine import raising_out_of_memory
from core.clip.model import load
from core.clip.served import Encoder
from core.datasets.manifests import ManifestEntry
from core.errors import AnswersNotFinite
from core.evaluation.queries import EvalQuery
from core.jobs.rules import Monitor
from core.scoring.evaluator import Features, encode, encode_batches
from core.scoring.search import (
    Bridge,
    Indexes,
    compare_vectors,
    indexes_of,
    project,
    search_recalls,
)
from core.values import Digest
from core.vectors.embedder import FittedBridge, IndexComparison
from core.vectors.rules import (
    EmbeddingMap,
    SearchedSuite,
    SearchRecalls,
    SuiteVectors,
    images_to_fit,
    map_of,
    sample_of,
)

APPLY = "v @ weight + bias, divided by its norm"


class VersionEmbedder:
    """Embeds by the engine that serves, in fp32."""

    def __init__(
        self,
        artifacts: Artifacts,
        *,
        device: torch.device,
        threads: int = 0,
        batch: int = 128,
        compiler: GraphCompiler | None = None,
    ) -> None:
        """Create an embedder of `batch` images at a time; with 0 threads, torch decides on them.

        With a compiler, versions encode by the engine that serves them.
        """
        self._compiler = compiler
        self._artifacts = artifacts
        self._device = device
        self._threads = threads
        self._batch = batch

    def compare(
        self, old: Digest, new: Digest, suites: Sequence[SearchedSuite], monitor: Monitor
    ) -> IndexComparison:
        """Embed the suites by both versions, fit a bridge, and search in the three indexes."""
        queries = [part for suite in suites for part in (suite.validation, suite.test) if part]
        with raising_out_of_memory(), torch.inference_mode():
            before, after = (self._features(one, queries, monitor) for one in (old, new))
            fitted = images_to_fit(suites)
            bridge = Bridge.fit(before.of_images(fitted), after.of_images(fitted))
            searches: list[SearchRecalls] = []
            vectors: list[SuiteVectors] = []
            maps: list[EmbeddingMap] = []
            tested = [(suite.name, suite.test) for suite in suites if suite.test]
            for done, (name, query) in enumerate(tested):
                alive = partial(monitor.advance, "searching", done, len(tested))
                indexes = indexes_of(query, before, after, bridge)
                searches += search_recalls(name, query, indexes, alive)
                if len(query.entries) > 1:
                    vectors.append(compare_vectors(name, indexes, alive))
                    maps.append(_map_of(name, query, indexes))
        return IndexComparison(
            bridge=FittedBridge(
                file=_file_of(bridge, old, new),
                kind=bridge.kind,
                images=bridge.images,
                scores=bridge.scores,
            ),
            searches=tuple(searches),
            vectors=tuple(vectors),
            maps=tuple(maps),
        )

    def embed(
        self, version: Digest, parts: Sequence[Sequence[ManifestEntry]], monitor: Monitor
    ) -> Iterator[bytes]:
        """Yield each part's vectors; its batches do not cross into the next part."""
        with raising_out_of_memory():
            model = self._load(version, monitor)
        decoded = self._decoded(model)
        batches = [
            [part[start : start + self._batch] for start in range(0, len(part), self._batch)]
            for part in parts
        ]
        total, done = sum(map(len, parts)), 0
        in_order = [batch for of_part in batches for batch in of_part]
        ahead = encode_batches(model, decoded, in_order, moved=monitor.moved)
        with closing(ahead) as features:
            for of_part in batches:
                rows = []
                for batch in of_part:
                    with raising_out_of_memory(), torch.inference_mode():
                        rows.append(_bytes_of(next(features)))
                    done += len(batch)
                    monitor.advance("embedding", done, total)
                yield b"".join(rows)

    def _features(
        self, version: Digest, queries: Sequence[EvalQuery], monitor: Monitor
    ) -> Features:
        model = self._load(version, monitor)
        features = encode(model, self._decoded(model), queries, self._batch, monitor)
        _require_finite(features.images)
        _require_finite(features.texts)
        return features

    def _load(self, version: Digest, monitor: Monitor) -> Encoder:
        if self._threads:
            torch.set_num_threads(self._threads)
        found = self._compiler.open(version, monitor) if self._compiler else None
        return found or load(version, self._artifacts, self._device, monitor.moved).freeze()

    def _decoded(self, model: Encoder) -> DecodedImages:
        # Each image is read once, so none is cached.
        return DecodedImages(self._artifacts, model.preprocess.evaluation_pixels, cache_bytes=0)


def _file_of(bridge: Bridge, old: Digest, new: Digest) -> bytes:
    tensors = {"weight": bridge.weight.float().contiguous(), "bias": bridge.bias.float()}
    metadata = {"from": old, "to": new, "kind": bridge.kind, "apply": APPLY}
    return save(tensors, metadata)


def _map_of(suite: str, query: EvalQuery, indexes: Indexes) -> EmbeddingMap:
    """Return a map whose axes are those of all images, also of those that are not drawn."""
    found = project(indexes.raw, indexes.reembedded)
    rows = sample_of(len(query.entries))
    points = found.old[rows].tolist(), found.new[rows].tolist()
    return map_of(suite, query, rows, points, found.explained.tolist())


def _require_finite(vectors: Tensor) -> None:
    if not vectors.isfinite().all():
        raise AnswersNotFinite


def _bytes_of(vectors: Tensor) -> bytes:
    _require_finite(vectors)
    return vectors.float().cpu().numpy().astype("<f4", copy=False).tobytes()
