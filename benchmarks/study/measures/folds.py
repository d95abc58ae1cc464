"""Recall as a mean over galleries of 1,000 images, as often reported for COCO.

Recall is higher in smaller galleries, so its name differs from that of recall over all images.
"""

from statistics import fmean

from torch import Tensor

from core.domain.evaluation.metrics import recalls
from core.evaluation.retrieval import caption_ranks, image_ranks

FOLD = 1000  # images


def fold_recalls(
    images: Tensor, captions: Tensor, owner: Tensor, size: int = FOLD
) -> tuple[dict[int, float], dict[int, float]]:
    """Return R@1, R@5 and R@10, image to text and text to image, each a mean over folds.

    Shapes are as in `image_ranks`. A fold is `size` consecutive images with their captions; a
    shorter rest is left out. Raises ValueError when there are fewer than `size` images.
    """
    if len(images) < size:
        raise ValueError(f"{len(images)} images make no fold of {size}")
    found: tuple[list[dict[int, float]], list[dict[int, float]]] = ([], [])
    for start in range(0, len(images) - size + 1, size):
        own = (owner >= start) & (owner < start + size)
        fold = images[start : start + size], captions[own], owner[own] - start
        found[0].append(dict(recalls(image_ranks(*fold))))
        found[1].append(dict(recalls(caption_ranks(*fold))))
    return _mean(found[0]), _mean(found[1])


def _mean(folds: list[dict[int, float]]) -> dict[int, float]:
    return {depth: fmean(fold[depth] for fold in folds) for depth in folds[0]}
