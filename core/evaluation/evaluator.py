"""Evaluation of a version: its answers to queries."""

from collections.abc import Sequence

import torch

from core.clip.decoded_images import DecodedImages
from core.clip.model import ClipModel
from core.clip.out_of_memory import raising_out_of_memory
from core.clip.weights import load
from core.domain.evaluation.query import (
    Answers,
    ClassAnswers,
    EvalQuery,
    RetrievalAnswers,
    RetrievalQuery,
)
from core.domain.jobs.event import EventKind
from core.domain.rejection.query import CalibrationQuery
from core.domain.values import Digest
from core.errors import OutOfMemory
from core.evaluation.accuracy import predict, probabilities
from core.evaluation.features import Features, encode, texts_of
from core.evaluation.rejection import calibration_of
from core.evaluation.retrieval import caption_ranks, image_ranks
from core.ports import Artifacts, Monitor


class VersionEvaluator:
    """The port `Evaluator` on torch, in fp32; every image and every text is encoded once."""

    def __init__(
        self, artifacts: Artifacts, *, device: torch.device, threads: int = 0, batch: int = 128
    ) -> None:
        """Create an evaluator that encodes `batch` images or texts at a time.

        With 0 threads, torch decides how many to use.
        """
        self.artifacts = artifacts
        self.device = device
        self.threads = threads
        self.batch = batch

    def answer(
        self, version: Digest, queries: Sequence[EvalQuery], monitor: Monitor
    ) -> Sequence[Answers]:
        """Return the answers of a version, in the order of the queries.

        If memory runs out, retries once with half the batch size. Raises ArtifactMissing,
        ArtifactCorrupt, OutOfMemory, and what the monitor raises to stop it.
        """
        if not queries:
            return ()
        if self.threads:
            torch.set_num_threads(self.threads)
        try:
            return self._answer(version, queries, monitor, self.batch)
        except OutOfMemory:
            half = max(1, self.batch // 2)
        monitor.emit(EventKind.OUT_OF_MEMORY, {"batch": half})
        return self._answer(version, queries, monitor, half)

    def ask(
        self,
        model: ClipModel,
        questions: Sequence[EvalQuery],
        monitor: Monitor,
        batch: int | None = None,
        *,
        decoded: DecodedImages | None = None,
    ) -> Sequence[Answers]:
        """Return the answers of a model in memory, in the order of the queries.

        `decoded` caches images in the model's evaluation preprocessing; those that it holds are
        not decoded again.
        """
        if decoded is None:  # each image is read once, so cache none
            prepare = model.preprocess.evaluation_pixels
            decoded = DecodedImages(self.artifacts, prepare, cache_bytes=0)
        with torch.inference_mode():
            features = encode(model, decoded, questions, batch or self.batch, monitor)
            scale = float(model.scale)
            return tuple(_answer(query, features, scale) for query in questions)

    def _answer(
        self, version: Digest, queries: Sequence[EvalQuery], monitor: Monitor, batch: int
    ) -> Sequence[Answers]:
        with raising_out_of_memory():
            model = load(version, self.artifacts, self.device, monitor.moved).freeze()
            return self.ask(model, queries, monitor, batch)


def _answer(query: EvalQuery, features: Features, scale: float) -> Answers:
    if isinstance(query, CalibrationQuery):
        return calibration_of(query.sources, features.of_images, features.of_texts, scale)
    images = features.of_images(query.entries)  # (images, width)
    texts = features.of_texts(texts_of(query))  # (classes or captions, width)
    if isinstance(query, RetrievalQuery):
        owner = torch.tensor(
            [index for index, entry in enumerate(query.entries) for _ in entry.texts],
            device=images.device,
        )
        return RetrievalAnswers(
            image_ranks=image_ranks(images, texts, owner),
            caption_ranks=caption_ranks(images, texts, owner),
        )
    predicted = predict(images, texts)
    sure = probabilities(images, texts, predicted, scale)
    return ClassAnswers(predicted=predicted, probabilities=sure)
