"""Statistics of the images of one class, from which later updates draw in their place.

With part `text` they are of features, with part `top` of what is below the image tower's top:
neither part changes what its own describe.

Source: Gaussian feature replay, as in SLCA's classifier alignment (Zhang et al., 2303.05118); below
a layer, latent replay (Pellegrini et al., 1912.01100), there of stored activations.
"""

from dataclasses import dataclass
from typing import Self

import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.nn.functional import normalize

from core.recipes.fields import ModelPart

SHRINKAGE = 0.1  # of the covariance towards its diagonal, as it comes from few images


@dataclass(frozen=True, kw_only=True)
class FeatureStatistics:
    """Mean and covariance of the L2-normalised features of a class's images."""

    count: Tensor  # a scalar: how many images
    mean: Tensor  # (width,)
    covariance: Tensor  # (width, width)

    @classmethod
    def of(cls, features: Tensor) -> Self:
        """Return the statistics of features (images, width)."""
        rows = features.double().cpu()
        mean = rows.mean(dim=0)
        centred = rows - mean
        return cls(
            count=torch.tensor(len(rows)),
            mean=mean.float(),
            covariance=(centred.T @ centred / len(rows)).float(),
        )

    def merged(self, other: Self) -> "FeatureStatistics":
        """Return the statistics of both classes' images together."""
        count = self.count + other.count
        share = other.count / count
        apart = other.mean - self.mean
        within = torch.lerp(self.covariance, other.covariance, share)
        return FeatureStatistics(
            count=count,
            mean=self.mean + share * apart,
            covariance=within + share * (1 - share) * torch.outer(apart, apart),
        )

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw L2-normalised features (count, width) from the Gaussian.

        The symmetric root of the covariance makes them depend on it continuously. Eigenvectors
        alone do not: libraries differ in their signs, and in those of equal eigenvalues.
        """
        own = self.covariance.double()
        shrunk = torch.lerp(own, torch.diag(own.diagonal()), SHRINKAGE)
        values, vectors = torch.linalg.eigh(shrunk)
        normal = torch.randn(count, len(values), generator=generator, dtype=torch.double)
        root = vectors * values.clamp(min=0).sqrt() @ vectors.T
        drawn = self.mean + normal @ root
        return normalize(drawn, dim=1).float()

    def to_bytes(self) -> bytes:
        """Return the statistics as safetensors."""
        return save(vars(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the statistics that `to_bytes` wrote."""
        return cls(**load(data))


RANK = 32  # directions of a class's activations; the rest of their covariance is a diagonal
MOST_ROWS = 2048  # images that directions are taken from: the time grows with their cube
ROUNDING = 1e-12  # a share of the largest eigenvalue, below which another is 0


@dataclass(frozen=True, kw_only=True)
class ActivationStatistics:
    """Mean and covariance of a class's activations, which are too many for a whole covariance.

    Of n numbers, a covariance has n²; this has its `RANK` leading directions, and of what is left
    the diagonal.
    """

    count: Tensor  # a scalar: how many images
    mean: Tensor  # of the shape of an activation, (channels, height, width)
    directions: Tensor  # (rank, numbers), each as long as its standard deviation
    diagonal: Tensor  # (numbers,): the variances that are left

    @classmethod
    def of(cls, activations: Tensor) -> Self:
        """Return the statistics of activations (images, channels, height, width)."""
        rows = activations.cpu().double()
        mean = rows.mean(dim=0)
        centred = (rows - mean).flatten(1) / len(rows) ** 0.5
        return cls(
            count=torch.tensor(len(rows)),
            mean=mean.float(),
            **_parted(centred, centred.square().sum(dim=0)),
        )

    def merged(self, other: Self) -> "ActivationStatistics":
        """Return the statistics of both classes' images together."""
        count = self.count + other.count
        share = (other.count / count).double()
        apart = (other.mean - self.mean).double().flatten()
        rows = torch.cat(
            [
                self.directions.double() * (1 - share).sqrt(),
                other.directions.double() * share.sqrt(),
                apart[None] * (share * (1 - share)).sqrt(),
            ]
        )
        left = torch.lerp(self.diagonal.double(), other.diagonal.double(), share)
        return ActivationStatistics(
            count=count,
            mean=torch.lerp(self.mean, other.mean, share.float()),
            **_parted(rows, rows.square().sum(dim=0) + left),
        )

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw activations (count, channels, height, width) from the Gaussian."""
        along = torch.randn(count, len(self.directions), generator=generator) @ self.directions
        rest = torch.randn(count, len(self.diagonal), generator=generator) * self.diagonal.sqrt()
        return self.mean + (along + rest).view(count, *self.mean.shape)

    def to_bytes(self) -> bytes:
        """Return the statistics as safetensors."""
        return save({name: tensor.contiguous() for name, tensor in vars(self).items()})


def _parted(rows: Tensor, variances: Tensor) -> dict[str, Tensor]:
    """Return the leading directions of Σ rowsᵀ rows, and the variances that these leave.

    Directions are those of the first rows, if there are many. A direction's sign is that of its
    largest number, as libraries differ in it.
    """
    if len(rows) > MOST_ROWS:
        rows = rows[:MOST_ROWS] * (len(rows) / MOST_ROWS) ** 0.5
    values, vectors = torch.linalg.eigh(rows @ rows.T)  # the largest last
    many = int((values[-RANK:] > ROUNDING * values[-1]).sum())
    found = vectors.T.flip(0)[:many] @ rows
    largest = found.gather(1, found.abs().argmax(dim=1, keepdim=True))
    found = found * largest.sign()
    left = (variances - found.square().sum(dim=0)).clamp(min=0)
    return {"directions": found.float(), "diagonal": left.float()}


Statistics = FeatureStatistics | ActivationStatistics


def kind_of(part: ModelPart) -> type[FeatureStatistics] | type[ActivationStatistics]:
    """Return the kind of statistics that an update of a part draws from."""
    return ActivationStatistics if part is ModelPart.TOP else FeatureStatistics


def merged(one: Statistics, other: Statistics) -> Statistics:
    """Return the statistics of both classes' images together; of two kinds, `other` alone."""
    match one, other:
        case FeatureStatistics(), FeatureStatistics():
            return one.merged(other)
        case ActivationStatistics(), ActivationStatistics():
            return one.merged(other)
        case _:
            return other


def read_statistics(data: bytes) -> Statistics:
    """Return the statistics that `to_bytes` wrote."""
    found = load(data)
    if "directions" in found:
        return ActivationStatistics(**found)
    return FeatureStatistics(**found)
