"""Replay without stored images while the image tower trains: drawn features that follow it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from core.learning.data import BLOCK_IMAGES, TrainingImages
from core.learning.methods import LearningMethod, Term, TrainingStart
from core.learning.mixing import TrainingEnd
from core.learning.statistics import FeatureStatistics
from core.learning.student import Batch, Features
from core.learning.vocabulary import Columns, generator_of
from core.recipes.rules import Recipe, distinct
from core.values import Digest, Json

POOL = 1000  # features drawn of each class, of which steps take some

DECAY = 0.9  # of the moments by step: about a thousand images of the newest steps count


class DriftingFeatures(LearningMethod):
    """`drifting_features`: VR-LwF of both towers, with features drawn in place of earlier images.

    Of each class the statistics of its images' features by the root are kept, which no update
    changes. Each step draws features r of earlier classes, and takes them to where the student
    would see such images:

        f(r) = normalise(r + r W)        W = argmin Σ ‖I − I' − I' W‖² + λ tr(G)/d ‖W‖²

    I and I' are the student's and the root's features of the update's images in the newest steps,
    G = Σ I'ᵀ I', and λ is `ridge`: the larger it is, the closer f(r) is to r. The drawn features
    join the batch, with r as the teacher's, and are as many of each earlier class as there are
    images of one of the update's. W passes no gradient, so they train the text tower alone.

    A step is one batch: a `micro_batch` would draw features for each part. Runs are not resumed, as
    moments and draws are in no checkpoint.

    Source: Gaussian feature replay (Zhang et al., 2303.05118), and a linear map learned on new
    images that takes old features along (learnable drift compensation, Gomez-Villa et al.,
    2407.08536), there from one update to the next.
    """

    def __init__(self, recipe: Recipe, columns: Columns, *, ridge: float) -> None:
        super().__init__(recipe, columns)
        self._ridge = ridge
        self._joined: tuple[Batch, Batch] | None = None

    def prepare(self, beginning: TrainingStart) -> None:
        """Read the statistics of earlier classes, take those of the update's, and begin the map."""
        spec, models = beginning.spec, beginning.models
        self._put = beginning.artifacts.put
        images = TrainingImages(
            spec.images,
            beginning.artifacts,
            models.student.preprocess,
            seed=spec.recipe.seed,
            augment=False,
        )
        own, root = [], []
        for start in range(0, len(spec.images), BLOCK_IMAGES):
            stop = min(start + BLOCK_IMAGES, len(spec.images))
            pixels = images.batch([(at, 0) for at in range(start, stop)]).to(models.student.device)
            own.append(models.student_images(pixels).detach().float())
            root.append(models.teacher_images(pixels)[-1].float())
        seen = torch.cat(root)
        self.drift = Drift.between(torch.cat(own), seen, ridge=self._ridge)
        names = [entry.class_name for entry in spec.images]
        self._known = dict(spec.feature_statistics)
        earlier = {
            name: FeatureStatistics.from_bytes(beginning.artifacts.get(digest))
            for name, digest in self._known.items()
        }
        self._own = {
            name: FeatureStatistics.of(seen[torch.tensor([one == name for one in names])])
            for name in distinct(names)
        }
        self._draw = _drawing(earlier, self.columns, spec.recipe, like=seen, classes=len(self._own))

    def terms(self) -> tuple[Term, ...]:
        """Return the recipe's terms over the batch and the features drawn beside it."""
        return tuple(self._over_both(term) for term in super().terms())

    def conclude(self, ending: TrainingEnd) -> Json:
        """Store the statistics of all classes taught; return them by class."""
        own = {name: self._put(one.to_bytes()) for name, one in self._own.items()}
        found: dict[str, Digest] = {**self._known, **own}
        return {**super().conclude(ending), "feature_statistics": found}

    def _over_both(self, term: Term) -> Term:
        return replace(term, loss=lambda batch: term.loss(self.join(batch)))

    def join(self, batch: Batch) -> Batch:
        """Return a batch with drawn features, the same ones for all terms of a step."""
        if self._joined is None or self._joined[0] is not batch:
            images, teacher = batch.student.images.detach().float(), batch.teachers[-1].images
            self.drift = self.drift.then(images, teacher.float())
            drawn, target = self._draw(len(batch.target))
            drawn, target = drawn.to(images), target.to(batch.target)
            moved = normalize(drawn + drawn @ self.drift.map(), dim=1)
            joined = replace(
                batch,
                student=_with_images(batch.student, moved),
                teachers=tuple(_with_images(one, drawn) for one in batch.teachers),
                target=torch.cat([batch.target, target]),
            )
            self._joined = batch, joined
        return self._joined[1]


def _with_images(features: Features, rows: Tensor) -> Features:
    return replace(features, images=torch.cat([features.images, rows.to(features.images)]))


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Moments from which the map of one model's features to another's follows."""

    gram: Tensor  # Σ I'ᵀ I': (width, width)
    cross: Tensor  # Σ I'ᵀ (I − I'): (width, width)
    ridge: float

    @classmethod
    def between(cls, now: Tensor, before: Tensor, *, ridge: float) -> "Drift":
        """Return the moments of two models' features of the same images, (images, width)."""
        return cls(gram=before.T @ before, cross=before.T @ (now - before), ridge=ridge)

    def then(self, now: Tensor, before: Tensor) -> "Drift":
        """Return the moments after another batch."""
        newest = Drift.between(now, before, ridge=self.ridge)
        return replace(
            self,
            gram=DECAY * self.gram + newest.gram,
            cross=DECAY * self.cross + newest.cross,
        )

    def map(self) -> Tensor:
        """Return W, (width, width)."""
        width = len(self.gram)
        weight = self.ridge * self.gram.trace() / width
        own = torch.eye(width, dtype=self.gram.dtype, device=self.gram.device)
        found: Tensor = torch.linalg.solve(self.gram + weight * own, self.cross)
        return found


def _drawing(
    earlier: Mapping[str, FeatureStatistics],
    columns: Columns,
    recipe: Recipe,
    *,
    like: Tensor,
    classes: int,
) -> Callable[[int], tuple[Tensor, Tensor]]:
    """Return what draws features of earlier classes beside a batch, and their columns."""
    draws = generator_of("drifting features", recipe.seed)
    pools = [known.draw(POOL, draws) for known in earlier.values()]
    pool = torch.cat([like[:0].cpu(), *pools])
    names = [name for name, rows in zip(earlier, pools, strict=True) for _ in rows]
    targets = columns.targets(names)

    def draw(images: int) -> tuple[Tensor, Tensor]:
        count = round(images * len(earlier) / classes)  # 0 without earlier classes
        chosen = torch.randint(max(1, len(pool)), (count,), generator=draws)
        return pool[chosen], targets[chosen]

    return draw
