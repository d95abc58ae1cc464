"""Evaluate a version: its answers to queries."""

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from types import MappingProxyType
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from core.artifacts.store import Artifacts, BytesCallback, ignore_bytes
from core.clip.compile import GraphCompiler
from core.clip.inputs import DecodedImages
from core.clip.machine import Prefetcher, raising_out_of_memory
from core.clip.model import ClipModel, load
from core.clip.progress import reporting_layers
from core.clip.served import Encoder
from core.datasets.manifests import ManifestEntry
from core.engines.opening import engines_here
from core.errors import OutOfMemory
from core.evaluation.answers import Answers, ClassAnswers, RetrievalAnswers
from core.evaluation.queries import ClassQuery, EvalQuery, RetrievalQuery
from core.images.views import View
from core.jobs.rules import EventKind, Monitor
from core.registry.versions import ServingPrecision
from core.rejection.queries import CalibrationQuery
from core.scoring.rejection import calibration_of
from core.values import Digest

ViewsOf = Mapping[Digest, Collection[View]]  # by pixels

# The features that an evaluator keeps, of the versions that it has asked last. The live version and
# the root are asked about the same images after each update, over a list with more classes.
KEPT_BYTES = 512 * 1024**2


@dataclass(frozen=True, kw_only=True)
class Features:
    """Features (count, width) and the row of each image, of each view of it, and of each text."""

    images: Tensor
    image_rows: Mapping[Digest, int]
    view_rows: Mapping[tuple[Digest, View], int]
    texts: Tensor
    text_rows: Mapping[str, int]

    def of_images(self, entries: Sequence[ManifestEntry]) -> Tensor:
        """Return the features of images."""
        rows = [self.image_rows[entry.pixels] for entry in entries]
        return self.images[torch.tensor(rows, device=self.images.device)]

    def of_view(self, entries: Sequence[ManifestEntry], view: View) -> Tensor:
        """Return the features of a view of images."""
        rows = [self.view_rows[entry.pixels, view] for entry in entries]
        return self.images[torch.tensor(rows, device=self.images.device)]

    def have(self, pixels: Digest, views: Iterable[View]) -> bool:
        """Return whether an image and these views of it are encoded."""
        return pixels in self.image_rows and all((pixels, v) in self.view_rows for v in views)

    def of_pictures(self, entries: Iterable[ManifestEntry], views: ViewsOf) -> Tensor:
        """Return the features of images, each followed by those of its views."""
        rows: list[int] = []
        for pixels in (entry.pixels for entry in entries):
            rows += (
                self.image_rows[pixels],
                *(self.view_rows[pixels, view] for view in views[pixels]),
            )
        return self.images[torch.tensor(rows, device=self.images.device)]

    def of_texts(self, texts: Iterable[str]) -> Tensor:
        """Return the features of texts."""
        rows = [self.text_rows[text] for text in texts]
        return self.texts[torch.tensor(rows, device=self.texts.device)]


class VersionEvaluator:
    """Evaluates by the engine that serves, in fp32; every image, view and text is encoded once.

    Of the versions that it was asked for last, features of the images that they were asked about
    last are kept in memory for the next time.
    """

    def __init__(
        self,
        artifacts: Artifacts,
        *,
        device: torch.device,
        threads: int = 0,
        batch: int = 128,
        kept_bytes: int = KEPT_BYTES,
        compiler: GraphCompiler | None = None,
    ) -> None:
        """Create an evaluator that encodes `batch` images or texts at a time.

        With 0 threads, torch decides how many to use. With a compiler, versions answer by the
        engine that serves them.
        """
        self._compiler = compiler
        self._known: dict[Digest, Features] = {}  # by version, the one asked last at the end
        self._kept_bytes = kept_bytes
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

    def release(self, precision: ServingPrecision) -> str | None:
        """Return the release of the engine that computes in a precision other than fp32."""
        if precision is ServingPrecision.FP32:
            return None
        return ", ".join(engines_here(precision).values()) or None

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
        decoded = decoded or self._undecoded(model)
        with torch.inference_mode():
            features = encode(model, decoded, questions, batch or self.batch, monitor)
            return _answers(model, features, questions, monitor.moved)

    def _undecoded(self, model: Encoder) -> DecodedImages:
        """Return a cache that keeps no image, as each is read once."""
        prepare = model.preprocess.evaluation_pixels
        return DecodedImages(self.artifacts, prepare, cache_bytes=0)

    def _answer(
        self, version: Digest, queries: Sequence[EvalQuery], monitor: Monitor, batch: int
    ) -> Sequence[Answers]:
        with raising_out_of_memory(), torch.inference_mode():
            model = self._open(version, monitor)
            known, decoded = self._known.get(version), self._undecoded(model)
            features = encode(model, decoded, queries, batch, monitor, known=known)
            self._keep(version, features)
            return _answers(model, features, queries, monitor.moved)

    def _open(self, version: Digest, monitor: Monitor) -> Encoder:
        found = self._compiler.open(version, monitor) if self._compiler else None
        return found or load(version, self.artifacts, self.device, monitor.moved).freeze()

    def _keep(self, version: Digest, features: Features) -> None:
        self._known.pop(version, None)
        images, texts = features.images.cpu(), features.texts[:0]
        self._known[version] = replace(features, images=images, texts=texts, text_rows={})
        while sum(one.images.nbytes for one in self._known.values()) > self._kept_bytes:
            del self._known[next(iter(self._known))]


def _answers(
    model: Encoder, features: Features, queries: Sequence[EvalQuery], moved: BytesCallback
) -> tuple[Answers, ...]:
    scale = float(model.scale)
    return tuple(_answer(query, features, scale, moved) for query in queries)


def _answer(query: EvalQuery, features: Features, scale: float, moved: BytesCallback) -> Answers:
    moved(0)
    if isinstance(query, CalibrationQuery):
        return calibration_of(query.sources, features.of_images, features.of_texts, scale)
    images = features.of_images(query.entries)  # (images, width)
    texts = features.of_texts(texts_of(query))  # (classes or captions, width)
    if isinstance(query, RetrievalQuery):
        owner = torch.tensor(
            [index for index, entry in enumerate(query.entries) for _ in entry.texts],
            device=images.device,
        )
        first: dict[str, int] = {}
        text = torch.tensor(
            [first.setdefault(one, index) for index, one in enumerate(texts_of(query))],
            device=images.device,
        )
        return RetrievalAnswers(
            image_ranks=image_ranks(images, texts, owner, text, moved),
            caption_ranks=caption_ranks(images, texts, owner, text, moved),
        )
    predicted = predict(images, texts)
    sure = probabilities(images, texts, predicted, scale)
    views = tuple(predict(features.of_view(query.entries, v), texts) for v in views_in(query))
    return ClassAnswers(predicted=predicted, probabilities=sure, views=views)


# Zero-shot predictions.

IMAGES_AT_ONCE = 1024  # images scored at a time


def predict(images: Tensor, classes: Tensor) -> tuple[int, ...]:
    """Return the index of the most similar class for each image; ties go to the lower index.

    If a similarity is NaN, no class is the most similar and the index is one past the last.
    `images` is (images, width) and `classes` (classes, width), both L2-normalised.
    """
    columns = torch.arange(len(classes), device=classes.device)  # (classes,)
    predicted: list[int] = []
    for block in torch.split(images, IMAGES_AT_ONCE):
        scores = block @ classes.T  # (block, classes)
        best = scores == scores.amax(dim=1, keepdim=True)
        predicted += torch.where(best, columns, len(classes)).amin(dim=1).tolist()
    return tuple(predicted)


def probabilities(
    images: Tensor, classes: Tensor, predicted: tuple[int, ...], scale: float
) -> tuple[float, ...]:
    """Return the probability of the class predicted for each image, to four digits.

    It is that of softmax over all classes, of scores times `scale`; 0 without a class. Shapes are
    those of `predict`.
    """
    found: list[float] = []
    blocks = zip(
        torch.split(images, IMAGES_AT_ONCE),
        torch.split(torch.tensor(predicted), IMAGES_AT_ONCE),
        strict=True,
    )
    for block, chosen in blocks:
        shares = (scale * (block @ classes.T)).softmax(dim=1)  # (block, classes)
        column = chosen.to(shares.device).clamp(max=len(classes) - 1)[:, None]
        share = shares.gather(1, column)[:, 0].nan_to_num()
        found += torch.where(chosen.to(shares.device) < len(classes), share, 0.0).tolist()
    return tuple(round(share, 4) for share in found)


# Retrieval ranks: how many others score higher than the right one.
#
# Ties go to the lower index, so a rank depends on the scores alone. An image may have any number
# of captions, and images may share one: of those that are right, the best counts. Ranks count from
# 0. If the score of one that is right is NaN, the rank is one past the last.

QUERIES_AT_ONCE = 512  # queries scored at a time


def image_ranks(
    images: Tensor,
    captions: Tensor,
    owner: Tensor,
    text: Tensor | None = None,
    moved: BytesCallback = ignore_bytes,
) -> tuple[int, ...]:
    """Return, for each image, the best rank among all captions of those with a text of its own.

    `images` is (images, width), `captions` (captions, width), both L2-normalised; `owner`
    (captions,) holds the index of each caption's image; without one, its rank is 0. `text`
    (captions,) holds the index of the first caption with the same text; without it, all differ.
    `moved(0)` is called before each block of queries.
    """
    text = torch.arange(len(captions), device=captions.device) if text is None else text
    ranks: list[int] = []
    for start in range(0, len(images), QUERIES_AT_ONCE):
        moved(0)
        block = images[start : start + QUERIES_AT_ONCE]
        query = torch.arange(start, start + len(block), device=owner.device)
        row, told = (owner == query[:, None]).nonzero(as_tuple=True)  # (block, captions)
        has = torch.zeros(len(block), len(captions), dtype=torch.bool, device=owner.device)
        has[row, text[told]] = True  # of the first captions with each text
        ranks += _ranks(block @ captions.T, has[:, text])
    return tuple(ranks)


def caption_ranks(
    images: Tensor,
    captions: Tensor,
    owner: Tensor,
    text: Tensor | None = None,
    moved: BytesCallback = ignore_bytes,
) -> tuple[int, ...]:
    """Return, for each caption, the best rank among all images of those that have its text.

    Shapes, and `moved`, are those of `image_ranks`.
    """
    text = torch.arange(len(captions), device=captions.device) if text is None else text
    ranks: list[int] = []
    blocks = (torch.split(each, QUERIES_AT_ONCE) for each in (captions, text))
    for block, asked in zip(*blocks, strict=True):
        moved(0)
        row, told = (asked[:, None] == text).nonzero(as_tuple=True)  # (block, captions)
        right = torch.zeros(len(block), len(images), dtype=torch.bool, device=owner.device)
        right[row, owner[told]] = True
        ranks += _ranks(block @ images.T, right)
    return tuple(ranks)


def _ranks(scores: Tensor, right: Tensor) -> list[int]:
    """Return the best rank of what is right in each row, or 0; both are (queries, gallery)."""
    position = torch.arange(scores.shape[1], device=scores.device)
    best = scores.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)  # (queries, 1)
    tied = scores == best
    first = torch.where(right & tied, position, len(position)).amin(dim=1, keepdim=True)
    higher = (scores > best) | best.isnan()  # all if a right one's score is NaN
    before = (higher | (tied & (position < first))) & right.any(dim=1, keepdim=True)
    counted: list[int] = before.sum(dim=1).tolist()
    return counted


# The features of all images and texts that queries ask about.

_Item = TypeVar("_Item")


def encode(
    model: Encoder,
    decoded: DecodedImages,
    queries: Sequence[EvalQuery],
    batch: int,
    monitor: Monitor,
    *,
    known: Features | None = None,
) -> Features:
    """Encode the images, views and texts of all queries, each once, and report the progress.

    Images that are `known` with their views are not encoded again.
    """
    entries = {entry.pixels: entry for query in queries for entry in query.entries}
    views: dict[Digest, dict[View, None]] = {pixels: {} for pixels in entries}
    for query in queries:
        for entry in query.entries:
            views[entry.pixels] |= dict.fromkeys(views_in(query))
    texts = list(dict.fromkeys(text for query in queries for text in texts_of(query)))
    kept = [one for one in entries.values() if known and known.have(one.pixels, views[one.pixels])]
    image_blocks = [known.of_pictures(kept, views).to(model.device)] if known and kept else []
    total = len(entries) + sum(map(len, views.values())) + len(texts)
    done = sum(map(len, image_blocks))
    monitor.advance("evaluating", done, total)

    text_blocks: list[Tensor] = []
    for names in _batches(texts, batch):
        with reporting_layers(monitor.moved):
            text_blocks.append(model.encode_texts(names))  # (batch, width)
        done += len(names)
        monitor.advance("evaluating", done, total)

    # As many pictures at a time, whether of images or of views.
    most = 1 + max(map(len, views.values()), default=0)
    same = {one.pixels for one in kept}
    fresh = [one for one in entries.values() if one.pixels not in same]
    batches = [
        some
        for count in range(most)
        for some in _batches(
            (entry for entry in fresh if len(views[entry.pixels]) == count),
            max(1, batch // (1 + count)),
        )
    ]
    for features in encode_batches(model, decoded, batches, views, moved=monitor.moved):
        image_blocks.append(features)
        done += len(features)
        monitor.advance("evaluating", done, total)

    image_rows: dict[Digest, int] = {}
    view_rows: dict[tuple[Digest, View], int] = {}
    for entry in chain(kept, *batches):
        image_rows[entry.pixels] = len(image_rows) + len(view_rows)
        for view in views[entry.pixels]:
            view_rows[entry.pixels, view] = len(image_rows) + len(view_rows)
    return Features(
        images=torch.cat(image_blocks),
        image_rows=image_rows,
        view_rows=view_rows,
        texts=torch.cat(text_blocks),
        text_rows={text: row for row, text in enumerate(texts)},
    )


def encode_batches(
    model: Encoder,
    decoded: DecodedImages,
    batches: Sequence[Sequence[ManifestEntry]],
    views: ViewsOf = MappingProxyType({}),
    *,
    moved: BytesCallback = ignore_bytes,
) -> Generator[Tensor, None, None]:
    """Yield the features of each batch (pictures, width); the next ones are decoded meanwhile.

    Each image is followed by its `views`. `moved` is called while a batch is computed.
    """

    def decode(number: int) -> Tensor:
        pictures = [
            decoded.with_views(one, [*views.get(one.pixels, ())]) for one in batches[number]
        ]
        return torch.from_numpy(np.concatenate(pictures))  # torch would start threads to join

    with Prefetcher(decode, 0, len(batches), device=model.device) as ahead:
        for _ in batches:
            pixels = ahead.take()
            with reporting_layers(moved):
                features = model.encode_images(pixels)
            yield features


def views_in(query: EvalQuery) -> tuple[View, ...]:
    """Return the views that a query asks about beside each image."""
    if not isinstance(query, ClassQuery):
        return ()
    return tuple(View(number=n + 1, mirror=query.mirror) for n in range(query.views))


def texts_of(query: EvalQuery) -> tuple[str, ...]:
    """Return the texts that a query compares images with: class prompts or captions."""
    if isinstance(query, CalibrationQuery):
        sources = query.sources
        return tuple(text for one in sources for text in one.prompt.fill_all(one.classes))
    if isinstance(query, ClassQuery):
        return query.prompt.fill_all(query.classes)
    return tuple(text for entry in query.entries for text in entry.texts)


def _batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
