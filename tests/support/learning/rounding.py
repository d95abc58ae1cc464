"""Bounds on rounding errors, from the arithmetic and not from what one machine happens to give.

Two ways to compute the same number differ by the order of their sums, and each machine has an
order of its own. A sum of n products is off by at most n·u of its largest size, where u is half
the distance from 1 to the next number (Higham, Accuracy and Stability, 2002, section 3.1).
"""

from __future__ import annotations

import torch

from core.clip.model import ClipModel


def unit(dtype: torch.dtype) -> float:
    """Return u, the largest relative error of one rounding."""
    return torch.finfo(dtype).eps / 2


def feature_error(model: ClipModel, dtype: torch.dtype) -> float:
    """Bound the error of a feature, as a share of its length.

    Each product with a matrix sums as many terms as the matrix's rows have elements.
    """
    matrices = (each for each in model.network.parameters() if each.ndim > 1)
    return sum(matrix.shape[1:].numel() for matrix in matrices) * unit(dtype)


def logit_error(model: ClipModel, dtype: torch.dtype) -> float:
    """Bound the error of a logit: two features of length 1 meet, and the scale multiplies."""
    return feature_error(model, dtype) * model.scale.item()
