"""Retrieval ranks: how many others score higher than the right one.

Ties go to the lower index, so a rank depends on the scores alone. An image may have any number
of captions. Ranks count from 0. If the right one's score is NaN, its rank is one past the last.
"""

import torch
from torch import Tensor

BLOCK = 512  # queries scored at a time


def image_ranks(images: Tensor, captions: Tensor, owner: Tensor) -> tuple[int, ...]:
    """Return, for each image, the best rank of its own captions among all captions.

    `images` is (images, width), `captions` (captions, width), both L2-normalised; `owner`
    (captions,) holds the index of each caption's image. Every image has a caption.
    """
    position = torch.arange(len(captions), device=captions.device)  # (captions,)
    ranks: list[int] = []
    for start in range(0, len(images), BLOCK):
        scores = images[start : start + BLOCK] @ captions.T  # (block, captions)
        query = torch.arange(start, start + len(scores), device=owner.device)
        own = owner == query[:, None]  # (block, captions)
        best = scores.masked_fill(~own, -torch.inf).amax(dim=1, keepdim=True)  # (block, 1)
        tied = scores == best
        first = torch.where(own & tied, position, len(captions)).amin(dim=1, keepdim=True)
        ranks += _count(_above(scores, best), tied & (position < first))
    return tuple(ranks)


def caption_ranks(images: Tensor, captions: Tensor, owner: Tensor) -> tuple[int, ...]:
    """Return, for each caption, the rank of its image among all images.

    Shapes are those of `image_ranks`.
    """
    position = torch.arange(len(images), device=images.device)  # (images,)
    ranks: list[int] = []
    for block, right in zip(torch.split(captions, BLOCK), torch.split(owner, BLOCK), strict=True):
        scores = block @ images.T  # (block, images)
        own = scores.gather(1, right[:, None])  # (block, 1)
        tied = scores == own
        ranks += _count(_above(scores, own), tied & (position < right[:, None]))
    return tuple(ranks)


def _above(scores: Tensor, right: Tensor) -> Tensor:
    return (scores > right) | right.isnan()  # all if the right one's score is NaN


def _count(higher: Tensor, tied_before: Tensor) -> list[int]:
    counted: list[int] = (higher.sum(dim=1) + tied_before.sum(dim=1)).tolist()
    return counted
