"""The encoding of stored images with a model."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from core.clip.images import read_image
from core.clip.model import ClipModel
from core.domain.datasets.manifest import ManifestEntry
from core.ports import Artifacts

BLOCK_IMAGES = 128


class ImageEncoder:
    """Encodes stored images with a model, preprocessed as for evaluation."""

    def __init__(
        self, model: ClipModel, artifacts: Artifacts, advance: Callable[[int, int], None]
    ) -> None:
        self._model = model
        self._artifacts = artifacts
        self._advance = advance

    @torch.no_grad()
    def __call__(self, entries: Sequence[ManifestEntry]) -> Tensor:
        """Return L2-normalised features (images, width)."""
        blocks = []
        for start in range(0, len(entries), BLOCK_IMAGES):
            block = entries[start : start + BLOCK_IMAGES]
            blocks.append(self._model.encode_images(torch.stack([self._pixels(e) for e in block])))
            self._advance(start + len(block), len(entries))
        return torch.cat(blocks)

    def _pixels(self, entry: ManifestEntry) -> Tensor:
        image = read_image(self._artifacts.get(entry.artifact))
        return self._model.preprocess.evaluation_pixels(image)
