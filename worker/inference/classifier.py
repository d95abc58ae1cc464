"""Classification and embedding by any version."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from core.clip.model import ClipModel
from core.domain.values import Digest
from core.errors import FieldInvalid
from core.inference_limits import MAX_TEXTS, images_per_request
from core.inference_wire import Embedded
from worker.inference.batcher import MicroBatcher
from worker.inference.model_cache import ModelCache
from worker.inference.text_features import TextFeatures

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
        compare = partial(_compare, scale=model.scale, columns=columns, top_k=top_k)
        found = self._batcher.encode(model, images, compare).result()
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
        model: ClipModel,
        texts: Digest,
        prompts: Sequence[str] | None,
        templates: int,
    ) -> Tensor:
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


def _compare(
    features: Tensor, *, scale: Tensor, columns: Tensor, top_k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the places of the best classes (images, k), their probabilities, greatest cosines."""
    with torch.inference_mode():
        cosines = features @ columns.T  # (images, classes)
        best = (scale * cosines).softmax(dim=-1).topk(min(top_k, len(columns)), dim=-1)
        greatest = cosines.topk(min(2, len(columns)), dim=-1).values
    return best.indices, best.values, greatest


def _vectors(features: Tensor) -> list[bytes]:
    """Return the rows of features (inputs, width) as little-endian float32."""
    return [row.tobytes() for row in features.numpy(force=True).astype("<f4")]


def _images(model: ClipModel, pixels: memoryview) -> Tensor:
    """Return pixels as uint8 (images, 3, height, width), without a copy. Raises FieldInvalid."""
    height, width = model.preprocess.size
    size = 3 * height * width
    count, rest = divmod(len(pixels), size)
    if rest or not 1 <= count <= images_per_request(size):
        raise FieldInvalid(
            f"Send 1 to {images_per_request(size)} images of 3 x {height} x {width} bytes."
        )
    rows = torch.frombuffer(pixels, dtype=torch.uint8).view(count, height, width, 3)
    return rows.permute(0, 3, 1, 2)


def _require_few(texts: Sequence[str]) -> None:
    if len(texts) > MAX_TEXTS:
        raise FieldInvalid(f"Send at most {MAX_TEXTS:,} texts.")
