"""Versions by torch as other engines serve them, and the other way round."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.artifacts.store import BytesCallback
from core.clip.inputs import Preprocess
from core.clip.model import ClipModel
from core.engines.rules import Engine
from core.engines.served import Floats, ServedModel
from core.engines.tokens import Tokenizer
from core.images.inputs import ImageInput
from core.values import Json

AT_ONCE = 16  # inputs of an engine: a larger batch is no faster on a CPU


class TorchModel:
    """A `ServedModel` that computes with torch, on the model's device."""

    engine = Engine.TORCH

    def __init__(self, model: ClipModel) -> None:
        self.model = model
        self.input = ImageInput.of(model.config)
        self.scale = float(model.scale.detach())

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self.model.tokenizer

    @torch.inference_mode()
    def encode_images(self, pixels: NDArray[np.uint8]) -> Floats:
        """Return features (images, width) of pixels (images, height, width, 3)."""
        features = self.model.encode_images(torch.from_numpy(pixels).permute(0, 3, 1, 2))
        found: Floats = features.numpy(force=True)
        return found

    @torch.inference_mode()
    def encode_tokens(self, tokens: NDArray[np.int64]) -> Floats:
        """Return features (sentences, width) of token ids (sentences, context length)."""
        found: Floats = self.model.encode_tokens(torch.from_numpy(tokens)).numpy(force=True)
        return found


class Encoder(Protocol):
    """A version as scoring asks it: a `ClipModel`, or an `EngineModel`."""

    @property
    def device(self) -> torch.device:
        """The device of its features."""

    @property
    def scale(self) -> Tensor:
        """The factor that similarities are multiplied by: a scalar tensor."""

    @property
    def preprocess(self) -> Preprocess:
        """The image preprocessing."""

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Return features (images, width) of uint8 pixels (images, 3, height, width)."""

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return features (texts, width) of texts."""


class EngineModel:
    """An `Encoder` whose features another engine than torch computes, few inputs at a time.

    `moved(0)` is called after each few, as engines report nothing meanwhile: a large batch may take
    longer than a lease.
    """

    device = torch.device("cpu")

    def __init__(self, served: ServedModel, config: Json, moved: BytesCallback) -> None:
        self._served = served
        self._config = config
        self._moved = moved
        self.scale = torch.tensor(served.scale)

    @cached_property
    def preprocess(self) -> Preprocess:
        """The image preprocessing."""
        size = self._served.input.height, self._served.input.width
        return Preprocess.of(self._config.get("preprocess_cfg", {}), size)

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Return features (images, width) of uint8 pixels (images, 3, height, width)."""
        rows = pixels.permute(0, 2, 3, 1).contiguous()
        return self._by_few(self._served.encode_images, rows.numpy())

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return features (texts, width) of texts."""
        return self._by_few(self._served.encode_tokens, self._served.tokenizer.rows(texts))

    def _by_few(self, encode: Callable[[NDArray[Any]], Floats], rows: NDArray[Any]) -> Tensor:
        found = []
        for start in range(0, len(rows), AT_ONCE):
            found.append(encode(rows[start : start + AT_ONCE]))
            self._moved(0)
        return torch.from_numpy(np.concatenate(found))
