"""Image preprocessing, from stored bytes to the input of an image tower."""

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from PIL import Image
from torch import Tensor

from core.domain.registry.image_input import ImageInput
from core.image_geometry import tower_pixels

TRAINING_MARGIN = 8 / 7  # the paper's 256 pixels around crops of 224
MAX_ASPECT_RATIO = 2.0  # long side over short side of the pixels that random crops are cut from


def read_image(data: bytes) -> Image.Image:
    """Decode stored bytes to an RGB image."""
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """A model's image preprocessing, by open_clip's own rules."""

    settings: PreprocessCfg

    @classmethod
    def of(cls, preprocess_cfg: Mapping[str, Any], image_size: int | tuple[int, int]) -> Self:
        """Return the preprocessing of a `preprocess_cfg` for an image tower's input size."""
        merged = merge_preprocess_dict(PreprocessCfg(), dict(preprocess_cfg))
        return cls(settings=PreprocessCfg(**{**merged, "size": image_size}))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        size = self.settings.size
        return (size, size) if isinstance(size, int) else (size[0], size[1])

    def evaluation_pixels(self, image: Image.Image) -> Tensor:
        """Return the resized centre crop of an image as uint8, (3, height, width)."""
        return _pixels(tower_pixels(image, self._input))

    def training_pixels(self, image: Image.Image) -> Tensor:
        """Return the pixels that random crops are cut from.

        The result is uint8, (3, at least 8/7 height, at least 8/7 width).
        """
        image = _crop_to_ratio(image, MAX_ASPECT_RATIO)
        height, width = (round(side * TRAINING_MARGIN) for side in self.size)
        ratio = max(height / image.height, width / image.width)
        size = max(width, round(image.width * ratio)), max(height, round(image.height * ratio))
        return _pixels(image.resize(size, self._filter))

    def normalise(self, pixels: Tensor) -> Tensor:
        """Convert pixels (..., 3, height, width) to the normalised floats that a tower takes."""
        mean = torch.tensor(self.settings.mean, device=pixels.device).view(3, 1, 1)
        std = torch.tensor(self.settings.std, device=pixels.device).view(3, 1, 1)
        return (pixels.float() / 255 - mean) / std

    @cached_property
    def _input(self) -> ImageInput:
        return ImageInput.with_size(asdict(self.settings), self.size)

    @property
    def _filter(self) -> Image.Resampling:
        linear = self.settings.interpolation == "bilinear"
        return Image.Resampling.BILINEAR if linear else Image.Resampling.BICUBIC


def _crop_to_ratio(image: Image.Image, ratio: float) -> Image.Image:
    """Return an image's centre crop whose long side is at most `ratio` times its short side."""
    longest = round(ratio * min(image.size))
    left = max(0, image.width - longest) // 2
    top = max(0, image.height - longest) // 2
    return image.crop(
        (left, top, left + min(image.width, longest), top + min(image.height, longest))
    )


def _pixels(image: Image.Image) -> Tensor:
    # numpy copies, because torch would start a thread pool for every decoding thread.
    return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())
