"""A map of one version's vectors to another's, for an index whose images are not embedded again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

FOLDS = 4
RIDGES = (0.01, 0.1, 1.0, 10.0)  # shares of the vectors' mean variance in a direction
ORTHOGONAL, AFFINE = "orthogonal", "affine"

_Fit = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Bridge:
    """The map v -> normalise(v @ weight + bias) of old vectors.

    `weight` is (width, width) and `bias` (width,). `scores` has the mean cosine of each candidate
    with the new vectors, on folds that it was not fitted on; `kind` is the best of them.
    """

    kind: str
    weight: Tensor
    bias: Tensor
    images: int  # that it was fitted on
    scores: Mapping[str, float]

    def apply(self, vectors: Tensor) -> Tensor:
        """Return the images of old vectors (rows, width), L2-normalised, in the bridge's dtype."""
        return _mapped(vectors.to(self.weight), self.weight, self.bias)

    @classmethod
    def fit(cls, old: Tensor, new: Tensor) -> Self:
        """Fit the best of several maps to vectors of the same images by two versions.

        Both are (images, width), in fp32 or fp64; fitting is in fp64. The candidates are fitted on
        three quarters of the images in turn and compared on the fourth; the best is fitted on all.
        """
        old, new = old.double().cpu(), new.double().cpu()
        fits = _fits()
        scores = {name: _cross_validated(fit, old, new) for name, fit in fits.items()}
        best = max(fits, key=lambda name: scores[name])
        weight, bias = fits[best](old, new)
        return cls(kind=best, weight=weight, bias=bias, images=len(old), scores=scores)


def orthogonal(old: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """Return the orthogonal matrix W that minimises |old @ W - new|, and no bias.

    W = U V^T of the singular value decomposition U S V^T of old^T new (P. H. Schoenemann,
    Psychometrika 31 (1966) 1-10). It leaves all cosines between old vectors as they are.
    """
    left, _, right = torch.linalg.svd(old.T @ new)
    return left @ right, torch.zeros(old.shape[1], dtype=old.dtype)


def affine(old: Tensor, new: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Return the W and b that minimise |old @ W + b - new|^2 + r |W - I|^2.

    r is `ridge` times the mean variance of the old vectors in a direction. The penalty pulls
    towards the identity, because a version's vectors are near its parent's, and so few images in
    many dimensions change little (A. E. Hoerl and R. W. Kennard, Technometrics 12 (1970) 55-67).
    """
    width = old.shape[1]
    identity = torch.eye(width, dtype=old.dtype)
    old_mean, new_mean = old.mean(dim=0), new.mean(dim=0)
    old, new = old - old_mean, new - new_mean
    squares = old.T @ old  # (width, width)
    penalty = ridge * squares.trace() / width + torch.finfo(old.dtype).eps
    weight = identity + torch.linalg.solve(squares + penalty * identity, old.T @ (new - old))
    return weight, new_mean - old_mean @ weight


def _fits() -> dict[str, _Fit]:
    def with_ridge(ridge: float) -> _Fit:
        return lambda old, new: affine(old, new, ridge)

    return {
        ORTHOGONAL: orthogonal,
        **{f"{AFFINE}, ridge {ridge:g}": with_ridge(ridge) for ridge in RIDGES},
    }


def _cross_validated(fit: _Fit, old: Tensor, new: Tensor) -> float:
    fold = torch.arange(len(old)) % FOLDS
    cosines = []
    for number in range(FOLDS):
        asked = fold == number
        weight, bias = fit(old[~asked], new[~asked])
        cosines.append((_mapped(old[asked], weight, bias) * new[asked]).sum(dim=1))
    return float(torch.cat(cosines).mean())


def _mapped(vectors: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mapped = vectors @ weight + bias
    lengths: Tensor = mapped.norm(dim=1, keepdim=True)
    return mapped / lengths
