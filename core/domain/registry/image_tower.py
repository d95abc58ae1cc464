"""The image tower of a version."""

from core.domain.registry.version import Weights
from core.domain.values import Digest
from core.errors import ModelNotTrainable

OTHER_IMAGE_TOWER = (
    "Features cannot be replayed: the teacher's image tower is not the parent's, because an "
    "earlier update has trained it. Choose teacher 'parent', or feature_replay 0."
)


def require_same_images(teacher: Weights, parent: Weights) -> None:
    """Raise ModelNotTrainable if a teacher would see images in another way than the parent."""
    if _tensors(teacher) != _tensors(parent):
        raise ModelNotTrainable(OTHER_IMAGE_TOWER, pointer="/recipe/teacher")


def _tensors(weights: Weights) -> dict[str, Digest]:
    return {t.name: t.digest for t in weights.tensors if t.name.startswith("visual.")}
