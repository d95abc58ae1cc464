"""An importer, trainer, evaluator, embedder and exporter that take no time."""

import secrets
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from core.bootstrap import archive_reader, decoder, signatures
from core.domain.datasets.manifest import ManifestEntry
from core.domain.evaluation.query import Answers, ClassAnswers, ClassQuery, EvalQuery
from core.domain.export_format import ExportFormat
from core.domain.recipes.choices import Precision
from core.domain.recipes.prompt import DEFAULT_PROMPT
from core.domain.registry.version import TensorEntry, Weights
from core.domain.rejection.calibration import Calibration
from core.domain.values import Digest, Json
from core.domain.vectors.searched_suite import SearchedSuite
from core.ports import (
    Artifacts,
    FittedBridge,
    IndexComparison,
    Monitor,
    Platform,
    Samples,
    Trained,
    TrainingSpec,
)
from core.use_cases.job_handlers import Tools

BYTES = 16


class NoOpTools:
    """All in one: weights are a few random bytes, and every answer is right."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    def load(self, base: str, monitor: Monitor) -> tuple[Weights, str]:
        """Store new weights; return these and a prompt template."""
        return self._publish(), DEFAULT_PROMPT.text

    def train(self, spec: TrainingSpec, *, resume: Digest | None, monitor: Monitor) -> Trained:
        """Report one step and store new weights."""
        monitor.advance("training", 1, 1)
        return Trained(weights=self._publish(), notes={}, environments=({},))

    def native_precisions(self) -> Collection[Precision]:
        """Return fp32 alone."""
        return (Precision.FP32,)

    def answer(
        self, version: Digest, queries: Sequence[EvalQuery], monitor: Monitor
    ) -> Sequence[Answers]:
        """Return the right answers to queries for classes, and no thresholds."""
        return [
            _right_answers(query) if isinstance(query, ClassQuery) else Calibration()
            for query in queries
        ]

    def formats(self) -> Collection[ExportFormat]:
        """Return all formats."""
        return tuple(ExportFormat)

    def write(
        self, version: Digest, export_format: ExportFormat, folder: Path, monitor: Monitor
    ) -> None:
        """Write one file that says what it is."""
        (folder / "export").write_text(f"{version} {export_format}")

    def check(
        self,
        version: Digest,
        export_format: ExportFormat,
        folder: Path,
        samples: Samples,
        monitor: Monitor,
    ) -> Json:
        """Return that all is equal."""
        return {"least_cosine_images": 1.0, "least_cosine_texts": 1.0}

    def embed(
        self, version: Digest, parts: Sequence[Sequence[ManifestEntry]], monitor: Monitor
    ) -> Iterator[bytes]:
        """Yield zeros, one for each image."""
        yield from (bytes(4 * len(part)) for part in parts)

    def compare(
        self, old: Digest, new: Digest, suites: Sequence[SearchedSuite], monitor: Monitor
    ) -> IndexComparison:
        """Return a comparison of nothing."""
        bridge = FittedBridge(file=b"", kind="", images=0, scores={})
        return IndexComparison(bridge=bridge, searches=(), vectors=())

    def _publish(self) -> Weights:
        digest = self._artifacts.put(secrets.token_bytes(BYTES))
        tensor = TensorEntry(
            name="logit_scale", dtype="F32", shape=(BYTES // 4,), digest=digest, size=BYTES
        )
        weights = Weights(config={"model_cfg": {}, "preprocess_cfg": {}}, tensors=(tensor,))
        self._artifacts.put(weights.to_bytes())
        return weights


def instant_tools(platform: Platform) -> Tools:
    """Return tools of which those that need torch do nothing."""
    instant = NoOpTools(platform.artifacts)
    return Tools(
        importer=instant,
        trainer=instant,
        evaluator=instant,
        embedder=instant,
        exporter=instant,
        archives=archive_reader(platform.settings),
        decoder=decoder(platform.settings),
        signatures=signatures(platform.settings),
    )


def _right_answers(query: ClassQuery) -> ClassAnswers:
    return ClassAnswers(
        predicted=tuple(query.classes.index(entry.class_name) for entry in query.entries)
    )
