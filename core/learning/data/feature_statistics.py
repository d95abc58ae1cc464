"""Feature statistics: a Gaussian of the image features of one class, which stands for its images.

Source: Gaussian feature replay, as in SLCA's classifier alignment (Zhang et al., 2303.05118).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.nn.functional import normalize

from core.domain.values import Digest
from core.learning.data.vocabulary import generator_of
from core.ports import Artifacts, TrainingSpec, ignore_progress

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


@dataclass(frozen=True, kw_only=True)
class DrawnFeatures:
    """Features that stand for images of classes learned before."""

    rows: Tensor  # (features, width)
    class_names: tuple[str, ...]  # of each row

    def lacks(self, spec: TrainingSpec) -> bool:
        """Return whether no feature stands for some class that was learned before."""
        return not {name.lower() for name in spec.learned} <= {
            name.lower() for name in self.class_names
        }

    @classmethod
    def of(
        cls,
        statistics: Mapping[str, Digest],
        artifacts: Artifacts,
        *,
        per_class: int,
        seed: int,
        advance: Callable[[int, int], None] = ignore_progress,
    ) -> Self:
        """Draw equally many features of each class; `advance(done, total)` is called after each.

        Raises ArtifactMissing, ArtifactCorrupt.
        """
        rows = []
        for name, digest in statistics.items():
            known = FeatureStatistics.from_bytes(artifacts.get(digest))
            rows.append(known.draw(per_class, generator_of("features of", seed, name)))
            advance(len(rows), len(statistics))
        return cls(
            rows=torch.cat(rows) if rows else torch.empty(0, 0),
            class_names=tuple(name for name in statistics for _ in range(per_class)),
        )
