"""Evaluation of a version: its answers to queries."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from core.clip.decoded import DecodedImages
from core.clip.memory import raising_out_of_memory
from core.clip.model import ClipModel
from core.clip.prefetch import Prefetcher
from core.clip.weights import load
from core.domain.datasets.manifest import ManifestEntry
from core.domain.evaluation.query import (
    Answers,
    ClassAnswers,
    ClassQuery,
    EvalQuery,
    RetrievalAnswers,
    RetrievalQuery,
)
from core.domain.jobs.job import EventKind
from core.domain.values import Digest
from core.errors import OutOfMemory
from core.evaluation.accuracy import predict
from core.evaluation.retrieval import caption_ranks, image_ranks
from core.ports import Artifacts, Monitor

_Item = TypeVar("_Item")


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
            features = _encode(model, decoded, questions, batch or self.batch, monitor)
            return tuple(_answer(query, features) for query in questions)

    def _answer(
        self, version: Digest, queries: Sequence[EvalQuery], monitor: Monitor, batch: int
    ) -> Sequence[Answers]:
        with raising_out_of_memory():
            model = load(version, self.artifacts, self.device, monitor.moved).freeze()
            return self.ask(model, queries, monitor, batch)


@dataclass(frozen=True, kw_only=True)
class _Features:
    """Features (count, width) and the row of each image and text."""

    images: Tensor
    image_rows: Mapping[Digest, int]
    texts: Tensor
    text_rows: Mapping[str, int]

    def of_images(self, entries: Sequence[ManifestEntry]) -> Tensor:
        rows = [self.image_rows[entry.pixels] for entry in entries]
        return self.images[torch.tensor(rows, device=self.images.device)]

    def of_texts(self, texts: Iterable[str]) -> Tensor:
        rows = [self.text_rows[text] for text in texts]
        return self.texts[torch.tensor(rows, device=self.texts.device)]


def _encode(
    model: ClipModel,
    decoded: DecodedImages,
    queries: Sequence[EvalQuery],
    batch: int,
    monitor: Monitor,
) -> _Features:
    entries = {entry.pixels: entry for query in queries for entry in query.entries}
    texts = list(dict.fromkeys(text for query in queries for text in _texts(query)))
    total = len(entries) + len(texts)
    monitor.advance("evaluating", 0, total)

    text_blocks: list[Tensor] = []
    done = 0
    for names in _batches(texts, batch):
        text_blocks.append(model.encode_texts(names))  # (batch, width)
        done += len(names)
        monitor.advance("evaluating", done, total)

    image_blocks: list[Tensor] = []
    groups = list(_batches(entries.values(), batch))

    def decode(group: int) -> Tensor:
        images = [decoded.of(entry) for entry in groups[group]]
        return torch.from_numpy(np.stack(images))  # torch would start threads to stack

    with Prefetcher(decode, 0, len(groups), device=model.device) as ahead:
        for group in groups:
            image_blocks.append(model.encode_images(ahead.take()))  # (batch, width)
            done += len(group)
            monitor.advance("evaluating", done, total)

    return _Features(
        images=torch.cat(image_blocks),
        image_rows={pixels: row for row, pixels in enumerate(entries)},
        texts=torch.cat(text_blocks),
        text_rows={text: row for row, text in enumerate(texts)},
    )


def _texts(query: EvalQuery) -> tuple[str, ...]:
    if isinstance(query, ClassQuery):
        return query.prompt.fill_all(query.classes)
    return tuple(text for entry in query.entries for text in entry.texts)


def _answer(query: EvalQuery, features: _Features) -> Answers:
    images = features.of_images(query.entries)  # (images, width)
    texts = features.of_texts(_texts(query))  # (classes or captions, width)
    if isinstance(query, RetrievalQuery):
        owner = torch.tensor(
            [index for index, entry in enumerate(query.entries) for _ in entry.texts],
            device=images.device,
        )
        return RetrievalAnswers(
            image_ranks=image_ranks(images, texts, owner),
            caption_ranks=caption_ranks(images, texts, owner),
        )
    return ClassAnswers(predicted=predict(images, texts))


def _batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
