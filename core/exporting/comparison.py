"""Comparison of an export's features with those of its version."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cosine_similarity

from core.clip.images import read_image
from core.clip.model import ClipModel
from core.exporting.towers import Towers
from core.exporting.while_computing import while_computing
from core.ports import Artifacts, Monitor, Samples

BATCH = 8
GENERATED = 8
DIGITS = 6  # of cosines, rounded down

_Item = TypeVar("_Item")


def compare(
    artifacts: Artifacts, model: ClipModel, export: Towers, samples: Samples, monitor: Monitor
) -> dict[str, Any]:
    """Return the smallest cosine over the images and over the texts, and what they were.

    All are asked in batches of eight, and the first alone too, so that batches of several sizes
    are tried. Both sides get the same cut of each image; the smallest cosine over whole images,
    which each side cuts by itself, is beside it.
    """
    images = [read_image(artifacts.get(image)) for image in samples.images]
    source = "suites" if images else "generated"
    images = images or generated_images()
    cuts = [_cut(model, image) for image in images]
    texts = list(samples.texts)
    total = 2 * len(images) + len(texts)

    def advance(done: int) -> None:
        monitor.advance("checking", done, total)

    def ours(batch: list[Image.Image]) -> Tensor:
        pixels = torch.stack([model.preprocess.evaluation_pixels(image) for image in batch])
        return model.encode_images(pixels)

    least = partial(_least, monitor=monitor, advance=advance)
    of_cuts = least(cuts, ours, export.images, done=0)
    of_whole = least(images, ours, export.images, done=len(images))
    of_texts = least(texts, model.encode_texts, export.texts, done=2 * len(images))
    return {
        "images": len(images),
        "images_from": source,
        "texts": len(texts),
        "least_cosine_images": of_cuts,
        "least_cosine_whole_images": of_whole,
        "least_cosine_texts": of_texts,
    }


def generated_images() -> list[Image.Image]:
    """Return colourful pictures, always the same, of several sizes and shapes."""
    return [_picture(seed) for seed in range(GENERATED)]


def _picture(seed: int) -> Image.Image:
    """Return a coarse random pattern under a fine one: edges, areas and noise."""
    source = np.random.default_rng(seed)
    height, width = (int(side) for side in source.integers(80, 400, 2))
    coarse = Image.fromarray(source.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    base = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    noisy = base + source.integers(-20, 21, base.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def _cut(model: ClipModel, image: Image.Image) -> Image.Image:
    """Return the part of an image that the model sees, at the size at which it sees it."""
    pixels = model.preprocess.evaluation_pixels(image)  # (3, height, width)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def _least(
    items: Sequence[_Item],
    ours: Callable[[list[_Item]], Tensor],
    theirs: Callable[[list[_Item]], Tensor],
    *,
    monitor: Monitor,
    advance: Callable[[int], None],
    done: int,
) -> float:
    """Return the smallest cosine between their features and ours, rounded down."""

    @torch.no_grad()
    def least_of(batch: list[_Item]) -> float:
        cosines = cosine_similarity(ours(batch).double(), theirs(batch).double())
        return float(cosines.nan_to_num(nan=-1.0).min())

    least = 1.0
    for batch in (list(items[:1]), *_batches(items)):
        # A batch of a large model may take longer than a lease.
        least = min(least, while_computing(partial(least_of, batch), monitor))
        advance(done)
        done += len(batch)
    return float(math.floor(least * 10**DIGITS) / 10**DIGITS)


def _batches(items: Sequence[_Item]) -> Iterator[list[_Item]]:
    for start in range(0, len(items), BATCH):
        yield list(items[start : start + BATCH])
