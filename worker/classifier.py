"""What the inference process is asked, and its answers."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from core.clip.images import read_image
from core.clip.model import ClipModel
from core.domain.values import Digest
from core.errors import FieldInvalid, ImageCorrupt
from worker.batcher import MicroBatcher
from worker.live_models import LiveModels


class Classifier:
    """Answers for any version by its digest. Raises ArtifactMissing or ArtifactCorrupt.

    Images are in the stored form; other bytes raise ImageCorrupt.
    """

    def __init__(self, models: LiveModels, batcher: MicroBatcher) -> None:
        self._models = models
        self._batcher = batcher

    def classify(
        self,
        digest: Digest,
        *,
        images: Sequence[bytes],
        classes: Sequence[str],
        prompts: Sequence[str],
        top_k: int,
    ) -> list[list[dict[str, Any]]]:
        """For each image its `top_k` classes with their probabilities, best first."""
        if not images or not classes or len(classes) != len(prompts):
            raise FieldInvalid("Send images, classes, and one prompt for each class.")
        live = self._models.get(digest)
        texts = self._batcher.run(lambda: live.text_features(prompts))
        pixels = _pixels(live.clip, images)
        features = self._batcher.encode(live.clip, pixels).result()
        with torch.inference_mode():
            logits = live.clip.scale * features @ texts.result().T  # (images, classes)
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
        """L2-normalised features of images and of texts, each in the order they came."""
        live = self._models.get(digest)
        rows: dict[str, list[list[float]]] = {"images": [], "texts": []}
        if texts:
            rows["texts"] = self._batcher.run(lambda: live.text_features(texts)).result().tolist()
        if images:
            pixels = _pixels(live.clip, images)
            rows["images"] = self._batcher.encode(live.clip, pixels).result().tolist()
        return rows


def _pixels(model: ClipModel, images: Sequence[bytes]) -> Tensor:
    return torch.stack([model.preprocess.evaluation_pixels(_read(data)) for data in images])


def _read(data: bytes) -> Image.Image:
    try:
        return read_image(data)
    except (UnidentifiedImageError, OSError, SyntaxError) as fault:
        raise ImageCorrupt from fault
