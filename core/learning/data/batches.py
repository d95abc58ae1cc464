"""Batches of training images: their order, their crops and a cache of decoded images."""

from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.clip.decoded_images import CACHE_BYTES, DecodedImages, Pixels
from core.clip.images import Preprocess
from core.domain.datasets.manifest import ManifestEntry
from core.learning.data.vocabulary import generator_of
from core.ports import Artifacts


def batch_indices(
    images: int, batch_size: int, *, seed: int, epoch: int, batch: int
) -> Sequence[int]:
    """Return the indices of a batch's images, shuffled anew every epoch by f(seed, epoch)."""
    order: list[int] = torch.randperm(images, generator=generator_of("order", seed, epoch)).tolist()
    return order[batch * batch_size : (batch + 1) * batch_size]


def random_crop(pixels: Pixels, size: tuple[int, int], chance: Random) -> Pixels:
    """Return a view of a random window of `size` (height, width), flipped with probability 1/2."""
    height, width = size
    top = int(chance.random() * (pixels.shape[1] - height + 1))
    left = int(chance.random() * (pixels.shape[2] - width + 1))
    window = pixels[:, top : top + height, left : left + width]
    return window[:, :, ::-1] if chance.random() < 0.5 else window


class TrainingImages:
    """A dataset version's images in batches; each image is decoded once if the cache has room.

    Thread-safe: several threads may make batches at once.
    """

    def __init__(
        self,
        entries: Sequence[ManifestEntry],
        artifacts: Artifacts,
        preprocess: Preprocess,
        *,
        seed: int,
        augment: bool,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._entries = entries
        self._size = preprocess.size
        self._seed = seed
        self._augment = augment
        prepare = preprocess.training_pixels if augment else preprocess.evaluation_pixels
        self._decoded = DecodedImages(artifacts, prepare, cache_bytes=cache_bytes)

    def batch(self, indices: Sequence[int], *, epoch: int) -> Tensor:
        """Return uint8 pixels (images, 3, height, width), cropped by f(seed, epoch, index)."""
        batch: NDArray[Any] = np.empty((len(indices), 3, *self._size), np.uint8)
        for row, index in enumerate(indices):
            batch[row] = self._view(index, epoch)
        return torch.from_numpy(batch)

    def _view(self, index: int, epoch: int) -> Pixels:
        pixels = self._decoded.of(self._entries[index])
        if not self._augment:
            return pixels
        return random_crop(pixels, self._size, Random(f"{self._seed}:{epoch}:{index}"))
