"""Features that do not change during an update: of frozen towers, and drawn from statistics."""

from collections.abc import Callable

import torch

from core.domain.recipes.choices import ModelPart
from core.domain.recipes.class_lists import distinct
from core.domain.recipes.exemplar_quota import drawn_features
from core.domain.registry.image_tower import OTHER_IMAGE_TOWER
from core.domain.values import Digest
from core.errors import ModelNotTrainable
from core.learning.data.feature_statistics import DrawnFeatures, FeatureStatistics
from core.learning.data.image_encoder import BLOCK_IMAGES
from core.learning.data.loader import BatchLoader
from core.learning.methods.method import LearningMethod
from core.learning.student_and_teachers import CachedFeatures, Models
from core.ports import Artifacts, TrainingSpec


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
        images=len(spec.images),
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
