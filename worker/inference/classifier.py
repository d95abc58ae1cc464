"""Classification and embedding by any version."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from core.engines.served import Floats, ServedModel
from core.errors import FieldInvalid
from core.inference.compare import compare
from core.inference.wire import MAX_TEXTS, TEXTS_AT_ONCE, Embedded, images_per_request
from core.recipes.rules import digest_of
from core.values import Digest
from worker.inference.models import ByteLimitedCache, ModelCache

# Batching of images from many requests into one forward pass.

MAX_IMAGES = 64

Pixels = NDArray[np.uint8]  # (images, height, width, 3)

_Result = TypeVar("_Result")


class _Request:
    def __init__(self, model: ServedModel, pixels: Pixels) -> None:
        self.model = model
        self.pixels = pixels
        self.features: Floats | None = None  # (images, width)


class MicroBatcher:
    """Batches requests on one thread, which owns the device.

    Requests that arrive during a forward pass share the next one, so that a single request never
    waits for others to fill a batch.
    """

    def __init__(self, *, max_images: int = MAX_IMAGES) -> None:
        self._max_images = max_images
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._lock = Lock()
        self._waiting: list[_Request] = []

    def encode(
        self, model: ServedModel, pixels: Pixels, then: Callable[[Floats], _Result]
    ) -> Future[_Result]:
        """Return what `then` makes, on the same thread, of the features (images, width)."""
        request = _Request(model, pixels)
        with self._lock:
            self._waiting.append(request)
        return self._thread.submit(lambda: then(self._answer(request)))

    def run(self, work: Callable[[], _Result]) -> Future[_Result]:
        """Run other work that needs the device, in turn."""
        return self._thread.submit(work)

    def close(self) -> None:
        """Finish all pending work and end the thread."""
        self._thread.shutdown()

    def _answer(self, request: _Request) -> Floats:
        if request.features is None:
            self._compute(self._gather(request))
        if request.features is None:
            raise RuntimeError("a batch returned no answer for its own request")
        return request.features

    def _gather(self, request: _Request) -> list[_Request]:
        """Take this request and as many waiting ones for the same model as fit in the batch."""
        with self._lock:
            if request in self._waiting:
                self._waiting.remove(request)
            batch, images = [request], len(request.pixels)
            for other in list(self._waiting):
                fits = images + len(other.pixels) <= self._max_images
                if other.model is request.model and fits:
                    self._waiting.remove(other)
                    batch.append(other)
                    images += len(other.pixels)
        return batch

    def _compute(self, batch: list[_Request]) -> None:
        """Compute a batch. If it fails, so does its first request; the others run in their turn."""
        pixels = np.concatenate([request.pixels for request in batch])
        blocks = [
            batch[0].model.encode_images(pixels[first : first + self._max_images])
            for first in range(0, len(pixels), self._max_images)
        ]
        rows, first = np.concatenate(blocks), 0
        for request in batch:
            request.features = rows[first : first + len(request.pixels)]
            first += len(request.pixels)


# Cached features of texts.


class TextFeatures:
    """Features of texts, computed in parts and cached."""

    def __init__(self, batcher: MicroBatcher, *, max_bytes: int) -> None:
        self._batcher = batcher
        self._computing = Lock()
        self._kept: ByteLimitedCache[tuple[Digest, Digest], Floats] = ByteLimitedCache(
            max_bytes=max_bytes
        )

    def known(self, digest: Digest, texts: Digest) -> Floats | None:
        """Return the features (texts, width) of texts by a version, if they are cached."""
        return self._kept.get((digest, texts))

    def of(
        self, digest: Digest, model: ServedModel, texts: Sequence[str], templates: int = 1
    ) -> Floats:
        """Return the features (classes, width) of texts by the version with this digest.

        With several templates, that many texts at a time stand for a class: its feature is the
        mean of theirs, normalised again (Radford et al., 2021, section 3.1.4).
        """
        key = digest, digest_of(texts, templates)
        with self._computing:  # concurrent requests for the same texts wait for this one
            found = self._kept.get(key)
            if found is None:
                found, _ = self.compute(model, texts)
                if templates > 1:
                    found = self._batcher.run(partial(_means, found, templates)).result()
                self._kept.put(key, found, found.nbytes)
        return found

    def compute(self, model: ServedModel, texts: Sequence[str]) -> tuple[Floats, NDArray[np.int64]]:
        """Return the features (texts, width) of texts, which are not cached, and their lengths.

        A length is the number of tokens that the tower reads, start and end token included.

        Between two parts, and while texts become tokens, the device is free for other work.
        """
        features, lengths = [], []
        for first in range(0, len(texts), TEXTS_AT_ONCE):
            tokens = model.tokenizer.rows(texts[first : first + TEXTS_AT_ONCE])
            lengths.append(model.tokenizer.frame.lengths(tokens))
            features.append(self._batcher.run(partial(model.encode_tokens, tokens)).result())
        return np.concatenate(features), np.concatenate(lengths)


def _means(features: Floats, templates: int) -> Floats:
    means = features.reshape(-1, templates, features.shape[-1]).mean(axis=1)
    found: Floats = means / np.linalg.norm(means, axis=-1, keepdims=True)
    return found


# The classifier.

Row = tuple[list[tuple[int, float]], list[float]]


class TextsUnknown(Exception):
    """Texts that were named by their digest are not known here, or not any more."""


class Classifier:
    """Classifies and embeds by any version, given its digest.

    Pixels are those of the version's input, image after image, for each RGB bytes row by row.
    Methods raise FieldInvalid, ArtifactMissing and ArtifactCorrupt.
    """

    def __init__(self, models: ModelCache, batcher: MicroBatcher, texts: TextFeatures) -> None:
        self._models = models
        self._batcher = batcher
        self._texts = texts

    def classify(
        self,
        digest: Digest,
        *,
        pixels: memoryview,
        texts: Digest,
        prompts: Sequence[str] | None,
        templates: int = 1,
        top_k: int,
    ) -> list[Row]:
        """Return the `top_k` classes of each image with their probabilities, best first.

        Beside them stand the image's greatest cosines with any of the classes: two, or one if there
        is one class. A class is named by its place. `prompts` are the texts of the digest `texts`,
        of which `templates` at a time stand for a class. Raises TextsUnknown for texts that are not
        cached if `prompts` is None.
        """
        model = self._models.get(digest)
        images = _images(model, pixels)
        columns = self._features(digest, model, texts, prompts, templates)
        comparing = partial(compare, scale=model.scale, columns=columns, top_k=top_k)
        found = self._batcher.encode(model, images, comparing).result()
        rows = zip(*(values.tolist() for values in found), strict=True)
        return [(list(zip(*row, strict=True)), both) for *row, both in rows]

    def embed(self, digest: Digest, *, pixels: memoryview, texts: Sequence[str]) -> list[Embedded]:
        """Return the L2-normalised vectors of images and, after them, of texts."""
        _require_few(texts)
        model = self._models.get(digest)
        if not pixels and not texts:
            raise FieldInvalid("Send at least one image or text.")
        found: list[Embedded] = []
        if pixels:
            vectors = self._batcher.encode(model, _images(model, pixels), _vectors).result()
            found += [Embedded(vector, tokens=0) for vector in vectors]
        if texts:
            features, lengths = self._texts.compute(model, texts)
            found += map(Embedded, _vectors(features), lengths.tolist())
        return found

    def _features(
        self,
        digest: Digest,
        model: ServedModel,
        texts: Digest,
        prompts: Sequence[str] | None,
        templates: int,
    ) -> Floats:
        known = self._texts.known(digest, texts)
        if known is not None:
            return known
        if prompts is None:
            raise TextsUnknown
        if not prompts:
            raise FieldInvalid("Send at least one prompt.")
        _require_few(prompts)
        if len(prompts) % templates:
            raise FieldInvalid("Each class needs a prompt of every template.")
        return self._texts.of(digest, model, prompts, templates)


def _vectors(features: Floats) -> list[bytes]:
    """Return the rows of features (inputs, width) as little-endian float32."""
    return [row.tobytes() for row in features.astype("<f4", copy=False)]


def _images(model: ServedModel, pixels: memoryview) -> Pixels:
    """Return pixels (images, height, width, 3), without a copy. Raises FieldInvalid."""
    height, width = model.input.height, model.input.width
    size = model.input.size
    count, rest = divmod(len(pixels), size)
    if rest or not 1 <= count <= images_per_request(size):
        raise FieldInvalid(
            f"Send 1 to {images_per_request(size)} images of 3 x {height} x {width} bytes."
        )
    return np.frombuffer(pixels, dtype=np.uint8).reshape(count, height, width, 3)


def _require_few(texts: Sequence[str]) -> None:
    if len(texts) > MAX_TEXTS:
        raise FieldInvalid(f"Send at most {MAX_TEXTS:,} texts.")
