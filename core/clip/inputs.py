"""The input of a model: images as pixels, and sentences up to their last token."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from threading import Lock
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip import CLIP, CustomTextCLIP, hf_model
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from open_clip.transformer import TextTransformer, text_global_pool
from PIL import Image
from torch import Tensor, nn

from core.artifacts.store import Artifacts
from core.datasets.manifests import ManifestEntry
from core.images.inputs import ImageInput
from core.images.pixels import filter_of, tower_pixels
from core.images.views import View
from core.values import Digest

# Preprocessing of images, from stored bytes to the input of an image tower.

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
        return _pixels(image.resize(size, filter_of(self._input)))

    def normalise(self, pixels: Tensor) -> Tensor:
        """Convert pixels (..., 3, height, width) to the normalised floats that a tower takes."""
        mean = torch.tensor(self.settings.mean, device=pixels.device).view(3, 1, 1)
        std = torch.tensor(self.settings.std, device=pixels.device).view(3, 1, 1)
        return (pixels.float() / 255 - mean) / std

    @cached_property
    def _input(self) -> ImageInput:
        return ImageInput.with_size(asdict(self.settings), self.size)


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


# A cache of decoded images.

CACHE_BYTES = 2 * 1024**3

Pixels = NDArray[np.uint8]  # (3, height, width)

Shown = tuple[Digest | View, ...]  # a stored image, and views of it


class DecodedImages:
    """A thread-safe cache of the pixels that `prepare` returns for stored images.

    Each image is decoded once as long as `cache_bytes` suffice. Nothing here computes with torch,
    which would start a thread pool for every calling thread beside that of the training thread.
    """

    def __init__(
        self,
        artifacts: Artifacts,
        prepare: Callable[[Image.Image], Tensor],
        *,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._artifacts = artifacts
        self._prepare = prepare
        self._room = cache_bytes
        self._known: dict[Shown, Pixels] = {}
        self._lock = Lock()

    def of(self, entry: ManifestEntry) -> Pixels:
        """Return an image's pixels, which callers must not modify.

        Raises ArtifactMissing or ArtifactCorrupt.
        """
        found: Pixels = self.with_views(entry, ())[0]
        return found

    def with_views(self, entry: ManifestEntry, views: Sequence[View]) -> Pixels:
        """Return the pixels of an image and of views of it, (1 + views, 3, height, width).

        The file is read once. Raises what `of` raises.
        """
        key: Shown = (entry.artifact, *views)
        known = self._known.get(key)
        return self._decode(entry, key, views) if known is None else known

    def _decode(self, entry: ManifestEntry, key: Shown, views: Sequence[View]) -> Pixels:
        image = read_image(self._artifacts.get(entry.artifact))
        shown = (image, *(view.of(image, entry.pixels) for view in views))
        pixels: Pixels = np.stack([self._prepare(one).numpy() for one in shown])
        with self._lock:
            if key not in self._known and pixels.nbytes <= self._room:
                self._room -= pixels.nbytes
                self._known[key] = pixels
        return pixels


# The text tower, run only up to the end of the longest sentence.


def sentence_lengths(tokens: Tensor, end: int) -> Tensor:
    """Return the number of tokens of each sentence (sentences,), start and end token included.

    `tokens` holds ids, (sentences, context); every row contains `end`.
    """
    return (tokens == end).int().argmax(dim=1) + 1


def sentence_length(tokens: Tensor, end: int) -> int:
    """Return the number of tokens of the longest sentence."""
    return int(sentence_lengths(tokens, end).max())


def is_croppable(network: nn.Module) -> bool:
    """Return whether nothing after a sentence's end token can change its feature.

    True for causal towers that pool at the end token, and for towers of transformers, which mask
    the padding: there, cropping is exact. Others (no causal mask, a class token at the end, another
    pooling) must run at full length.
    """
    tower = _tower(network)
    if _is_foreign(tower):
        return True
    if isinstance(tower, CLIP):
        pool = tower.text_pool_type
    elif type(tower) is TextTransformer and tower.cls_emb is None and not tower.output_tokens:
        pool = tower.pool_type
    else:
        return False
    return tower.attn_mask is not None and pool in {"argmax", "eos"}


def encode_text(network: nn.Module, tokens: Tensor, *, end: int) -> Tensor:
    """Return what `network.encode_text` does, features not normalised, for less computation.

    `tokens` is (sentences, context); the result is (sentences, width of the joint space).
    """
    if is_croppable(network):
        tokens = tokens[:, : sentence_length(tokens, end)]
    return text_features(network, tokens)


def text_features(network: nn.Module, tokens: Tensor) -> Tensor:
    """Return what `network.encode_text` does, of sentences that a croppable tower has cropped."""
    if not is_croppable(network):
        features: Tensor = network.encode_text(tokens)  # type: ignore[operator]
        return features
    tower = _tower(network)
    if _is_foreign(tower):
        return _foreign_features(tower, tokens)
    length = tokens.shape[1]
    dtype = tower.transformer.get_cast_dtype()
    words = tower.token_embedding(tokens).to(dtype)  # (sentences, length, width)
    words = words + tower.positional_embedding[:length].to(dtype)
    words = tower.transformer(words, attn_mask=tower.attn_mask[:length, :length])
    pooled: Tensor = text_global_pool(  # (sentences, width)
        tower.ln_final(words),
        tokens,
        tower.text_pool_type if isinstance(tower, CLIP) else tower.pool_type,
        eos_token_id=tower.text_eos_id if isinstance(tower, CLIP) else tower.eos_id,
    )
    return _projected(pooled, tower.text_projection)


def _foreign_features(tower: Any, tokens: Tensor) -> Tensor:
    """Return what open_clip's tower of transformers does, without the features of its tokens."""
    known = (tokens != tower.config.pad_token_id).long()
    words = tower.transformer(input_ids=tokens, attention_mask=known)
    features: Tensor = tower.proj(tower.pooler(words, known))
    return features


def _is_foreign(tower: Any) -> bool:
    return isinstance(tower, hf_model.HFTextEncoder)


def _projected(pooled: Tensor, projection: nn.Linear | Tensor | None) -> Tensor:
    if projection is None:
        return pooled
    if isinstance(projection, nn.Linear):
        return projection.forward(pooled)
    return pooled @ projection


def _tower(network: nn.Module) -> Any:
    return network.text if isinstance(network, CustomTextCLIP) else network
