"""Projections of two versions' embeddings of the same images on the same two axes."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Projection:
    """The points of two versions, (images, 2) each, and the share of the variance of each axis."""

    old: Tensor
    new: Tensor
    explained: Tensor  # (2,)


def project(old: Tensor, new: Tensor) -> Projection:
    """Return the principal components of both versions' embeddings together, in fp64.

    `old` and `new` are (images, width). The axes are the first two eigenvectors of the covariance
    of all rows; the sign of each is such that its largest coordinate is positive. With less than
    two dimensions, the missing coordinate is 0.
    """
    both = torch.cat([old, new]).double().cpu()  # (2 images, width)
    centred = both - both.mean(dim=0)
    values, vectors = torch.linalg.eigh(centred.T @ centred)  # ascending
    axes = vectors[:, -2:].flip(1)  # (width, 2)
    largest = axes.gather(0, axes.abs().argmax(dim=0)[None])  # (1, 2)
    points = centred @ (axes * torch.where(largest < 0, -1.0, 1.0))
    shares = values[-2:].flip(0).clamp(min=0) / values.clamp(min=0).sum().clamp(min=1e-12)
    if points.shape[1] < 2:
        points = torch.nn.functional.pad(points, (0, 1))
        shares = torch.nn.functional.pad(shares, (0, 1))
    before, now = points.split(len(old))
    return Projection(old=before, new=now, explained=shares)
