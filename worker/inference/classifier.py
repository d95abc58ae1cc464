"""Classification and embedding by any version."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from core.clip.model import ClipModel
from core.domain.values import Digest
from core.errors import FieldInvalid
from core.inference_limits import MAX_TEXTS
from worker.inference.batcher import MicroBatcher
from worker.inference.model_cache import ModelCache
from worker.inference.stored_images import read_stored
from worker.inference.text_features import TextFeatures


class Classifier:
    """Classifies and embeds by any version, given its digest.

    Images are in the stored form, their sides at most `stored_side` pixels. Methods raise
    ArtifactMissing, ArtifactCorrupt and, for other bytes, what `read_stored` raises.
    """

    def __init__(
        self, models: ModelCache, batcher: MicroBatcher, texts: TextFeatures, *, stored_side: int
    ) -> None:
        self._models = models
        self._batcher = batcher
        self._texts = texts
        self._stored_side = stored_side

    def classify(
        self,
        digest: Digest,
        *,
        images: Sequence[bytes],
        classes: Sequence[str],
        prompts: Sequence[str],
        top_k: int,
    ) -> list[list[dict[str, Any]]]:
        """Return the `top_k` classes of each image with their probabilities, best first."""
        if not images or not classes or len(classes) != len(prompts):
            raise FieldInvalid("Send images, classes and one prompt for each class.")
        _require_few(prompts)
        model = self._models.get(digest)
        pixels = self._pixels(model, images)
        texts = self._texts.of(digest, model, prompts)
        features = self._batcher.encode(model, pixels).result()
        with torch.inference_mode():
            logits = model.scale * features @ texts.T  # (images, classes)
            best = logits.softmax(dim=-1).topk(min(top_k, len(classes)), dim=-1)
        return [
            [
                {"class": classes[column], "probability": probability}
                for column, probability in zip(columns, probabilities, strict=True)
            ]
            for columns, probabilities in zip(
                best.indices.tolist(), best.values.tolist(), strict=True
            )
        ]

    def embed(
        self, digest: Digest, *, images: Sequence[bytes], texts: Sequence[str]
    ) -> dict[str, list[list[float]]]:
        """Return the L2-normalised features of images and of texts, each in the given order."""
        _require_few(texts)
        model = self._models.get(digest)
        rows: dict[str, list[list[float]]] = {"images": [], "texts": []}
        if texts:
            rows["texts"] = self._texts.of(digest, model, texts).tolist()
        if images:
            pixels = self._pixels(model, images)
            rows["images"] = self._batcher.encode(model, pixels).result().tolist()
        return rows

    def _pixels(self, model: ClipModel, images: Sequence[bytes]) -> Tensor:
        read = (read_stored(data, side=self._stored_side) for data in images)
        return torch.stack([model.preprocess.evaluation_pixels(image) for image in read])


def _require_few(texts: Sequence[str]) -> None:
    if len(texts) > MAX_TEXTS:
        raise FieldInvalid(f"Send at most {MAX_TEXTS:,} texts.")
