"""Features that do not change during an update: of frozen towers, and drawn from statistics."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from core.artifacts.store import Artifacts
from core.errors import ModelNotTrainable
from core.learning.data import BLOCK_IMAGES, BatchLoader
from core.learning.methods import LearningMethod
from core.learning.statistics import kind_of, merged, read_statistics
from core.learning.student import CachedFeatures, Models, share_images
from core.learning.vocabulary import generator_of
from core.recipes.fields import ModelPart, drawn_features
from core.recipes.rules import distinct
from core.registry.versions import OTHER_IMAGE_TOWER
from core.training.trainer import TrainingSpec
from core.values import Digest, ignore_progress


@dataclass(frozen=True, kw_only=True)
class DrawnFeatures:
    """Features that stand for images of classes learned before."""

    rows: Tensor  # (features, width), or activations below the image tower's top: (rows, ...)
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
            known = read_statistics(artifacts.get(digest))
            rows.append(known.draw(per_class, generator_of("features of", seed, name)))
            advance(len(rows), len(statistics))
        return cls(
            rows=torch.cat(rows) if rows else torch.empty(0, 0),
            class_names=tuple(name for name in statistics for _ in range(per_class)),
        )


def statistics_for(
    part: ModelPart,
    statistics: Mapping[str, Digest],
    artifacts: Artifacts,
    advance: Callable[[int, int], None],
) -> dict[str, Digest]:
    """Return the statistics of classes that an update of a part may draw from.

    `advance(done, total)` is called after each. Raises ArtifactMissing, ArtifactCorrupt.
    """
    found = {}
    for done, (name, digest) in enumerate(statistics.items(), start=1):
        if isinstance(read_statistics(artifacts.get(digest)), kind_of(part)):
            found[name] = digest
        advance(done, len(statistics))
    return found


# The features of an update.


def draw_features(
    spec: TrainingSpec,
    models: Models,
    artifacts: Artifacts,
    advance: Callable[[int, int], None],
) -> DrawnFeatures:
    """Draw the features that the recipe replays. Raises ModelNotTrainable."""
    recipe, statistics = spec.recipe, spec.feature_statistics if spec.recipe.feature_replay else {}
    below = recipe.part is ModelPart.TOP
    alike = (share_images(one, models.student, below=below) for one in models.teachers)
    if recipe.feature_replay and not all(alike):
        raise ModelNotTrainable(OTHER_IMAGE_TOWER, pointer="/recipe/teacher")
    known = statistics_for(recipe.part, statistics, artifacts, advance)
    per_class = drawn_features(
        recipe.feature_replay,
        len(known),
        images=len(spec.images or spec.captioned),
        classes=len(spec.classes),
    )
    return DrawnFeatures.of(
        known, artifacts, per_class=per_class, seed=recipe.seed, advance=advance
    )


def known_features(
    method: LearningMethod,
    models: Models,
    loader: BatchLoader,
    drawn: DrawnFeatures,
    advance: Callable[[int, int], None],
) -> CachedFeatures | None:
    """Return frozen towers' features of all images, which must not be augmented; None if none.

    The drawn features follow.
    """
    if not (models.part.keeps_statistics or method.distils_batches):
        return None
    blocks = []
    for start in range(0, loader.count, BLOCK_IMAGES):
        pixels = loader.whole(start, start + BLOCK_IMAGES)
        blocks.append(models.know(pixels, distils=method.distils_batches))
        advance(min(start + BLOCK_IMAGES, loader.count), loader.count)
    for rows in torch.split(drawn.rows, BLOCK_IMAGES) if drawn.class_names else ():
        there = rows.to(models.student.device)
        blocks.append(models.know_drawn(there, distils=method.distils_batches))
    return CachedFeatures(
        student=_joined(block.student for block in blocks),
        teachers=tuple(torch.cat(rows) for rows in zip(*(b.teachers for b in blocks), strict=True)),
        below=_joined(block.below for block in blocks),
    )


def _joined(blocks: Iterable[Tensor | None]) -> Tensor | None:
    found = [rows for rows in blocks if rows is not None]
    return torch.cat(found) if found else None


def feature_statistics(
    spec: TrainingSpec,
    known: CachedFeatures | None,
    artifacts: Artifacts,
    advance: Callable[[int, int], None],
) -> dict[str, Digest]:
    """Store the statistics of an update's classes; return those of all that may be replayed later.

    Those of earlier classes stay valid if what they describe is frozen: an update of part `text`
    leaves all, one of part `top` those of that part. A class that is taught again has those of all
    its images, or those of the newest alone if the ones before are of the other part. The update's
    own are those of its `known` features; they are not stored unless the recipe replays features.
    """
    part, found = spec.recipe.part, dict(spec.feature_statistics)
    if not part.keeps_statistics:
        return {}
    if part is ModelPart.TOP:
        found = statistics_for(part, found, artifacts, advance)
    if not spec.recipe.feature_replay or known is None or known.rows is None:
        return found
    earlier = {name.lower(): name for name in found}
    classes = distinct(spec.classes)
    for done, name in enumerate(classes, start=1):
        own = [entry.class_name.lower() == name.lower() for entry in spec.images]
        statistics = kind_of(part).of(known.rows[: len(own)][torch.tensor(own)])
        if before := earlier.get(name.lower()):
            past = read_statistics(artifacts.get(found.pop(before)))
            statistics = merged(past, statistics)
        found[name] = artifacts.put(statistics.to_bytes())
        advance(done, len(classes))
    return found
