"""The replay of features of the classes that an update's parent has learned."""

from collections.abc import Sequence

from core.domain.recipes.choices import TeacherPolicy
from core.domain.recipes.exemplar_quota import drawn_features
from core.domain.recipes.recipe import Recipe
from core.domain.registry.image_tower import require_same_images
from core.domain.registry.version import Version, Weights
from core.ports import Artifacts


def require_replayable(artifacts: Artifacts, line: Sequence[Version], recipe: Recipe) -> None:
    """Raise ModelNotTrainable if features are to be replayed and a teacher has others.

    That does not depend on whether there are any yet: the next update is to replay this one's.
    `line` is root first, parent last. Raises ArtifactMissing, ArtifactCorrupt.
    """
    if not recipe.feature_replay or not recipe.terms or recipe.teacher is TeacherPolicy.PARENT:
        return
    root, parent = (
        Weights.from_bytes(artifacts.get(version.digest)) for version in (line[0], line[-1])
    )
    require_same_images(root, parent)


def replayed_features(recipe: Recipe, parent: Version | None, images: int, classes: int) -> int:
    """Return how many features an update of so many images and classes replays."""
    if parent is None or not recipe.feature_replay:
        return 0
    replayed = len(parent.feature_statistics)
    each = drawn_features(recipe.feature_replay, replayed, images=images, classes=classes)
    return each * replayed
