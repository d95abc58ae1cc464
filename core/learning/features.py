"""Features that do not change during an update: of frozen towers, and drawn from statistics."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.nn.functional import normalize

from core.artifacts.store import Artifacts
from core.errors import ModelNotTrainable
from core.learning.data import BLOCK_IMAGES, BatchLoader
from core.learning.methods import LearningMethod
from core.learning.student import CachedFeatures, Models
from core.learning.vocabulary import generator_of
from core.recipes.fields import ModelPart, drawn_features
from core.recipes.rules import distinct
from core.registry.versions import OTHER_IMAGE_TOWER
from core.training.trainer import TrainingSpec
from core.values import Digest, ignore_progress

# Feature statistics: a Gaussian of the image features of one class, which stands for its images.
#
# Source: Gaussian feature replay, as in SLCA's classifier alignment (Zhang et al., 2303.05118).

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


# The features of an update.


def draw_features(
    spec: TrainingSpec,
    models: Models,
    artifacts: Artifacts,
    advance: Callable[[int, int], None],
) -> DrawnFeatures:
    """Draw the features that the recipe replays. Raises ModelNotTrainable."""
    recipe, statistics = spec.recipe, spec.feature_statistics if spec.recipe.feature_replay else {}
    if recipe.feature_replay and not all(models.share_images):
        raise ModelNotTrainable(OTHER_IMAGE_TOWER, pointer="/recipe/teacher")
    per_class = drawn_features(
        recipe.feature_replay,
        len(statistics),
        images=len(spec.images or spec.captioned),
        classes=len(spec.classes),
    )
    return DrawnFeatures.of(
        statistics, artifacts, per_class=per_class, seed=recipe.seed, advance=advance
    )


def known_features(
    method: LearningMethod,
    models: Models,
    loader: BatchLoader,
    drawn: DrawnFeatures,
    advance: Callable[[int, int], None],
) -> CachedFeatures | None:
    """Return frozen towers' features of all images, which must not be augmented; None if none.

    The drawn features follow; they are the student's and its teachers' alike.
    """
    if models.part is not ModelPart.TEXT and not method.distils_batches:
        return None
    blocks = []
    for start in range(0, loader.count, BLOCK_IMAGES):
        pixels = loader.whole(start, start + BLOCK_IMAGES)
        blocks.append(models.know(pixels, distils=method.distils_batches))
        advance(min(start + BLOCK_IMAGES, loader.count), loader.count)
    if drawn.class_names:
        rows = drawn.rows.to(models.student.device)
        blocks.append(CachedFeatures(student=rows, teachers=(rows,) * len(blocks[0].teachers)))
    students = [block.student for block in blocks if block.student is not None]
    return CachedFeatures(
        student=torch.cat(students) if students else None,
        teachers=tuple(torch.cat(rows) for rows in zip(*(b.teachers for b in blocks), strict=True)),
    )


def feature_statistics(
    spec: TrainingSpec,
    known: CachedFeatures | None,
    artifacts: Artifacts,
    advance: Callable[[int, int], None],
) -> dict[str, Digest]:
    """Store the statistics of an update's classes; return those of all that may be replayed later.

    Those of earlier classes stay valid if the image tower is frozen. A class that is taught again
    has those of all its images. The update's own are those of its `known` features; they are not
    stored unless the recipe replays features.
    """
    if spec.recipe.part is not ModelPart.TEXT:
        return {}
    found = dict(spec.feature_statistics)
    if not spec.recipe.feature_replay or known is None or known.student is None:
        return found
    earlier = {name.lower(): name for name in found}
    classes = distinct(spec.classes)
    for done, name in enumerate(classes, start=1):
        own = [entry.class_name.lower() == name.lower() for entry in spec.images]
        statistics = FeatureStatistics.of(known.student[: len(own)][torch.tensor(own)])
        if before := earlier.get(name.lower()):
            past = FeatureStatistics.from_bytes(artifacts.get(found.pop(before)))
            statistics = past.merged(statistics)
        found[name] = artifacts.put(statistics.to_bytes())
        advance(done, len(classes))
    return found
