"""Near-duplicates: images so similar that they are always on the same side and part."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.domain.datasets.dataset import DatasetImage
from core.domain.datasets.split import part_of, side_of
from core.domain.values import Digest
from core.errors import SplitConflict

THUMBNAIL_SIDE = 8  # pixels; RGB, 8 bits a channel
# The largest distance between the thumbnails of near-duplicates: the fourth root of the mean fourth
# power of their differences, in levels of 0 to 255. JPEG at quality 75 stays below it for 99 of 100
# pictures; different photographs and garments were further apart when it was measured (ADR 0015).
NEAR = 5.0


@dataclass(frozen=True, kw_only=True)
class SimilarImage:
    """A known image that a new one is similar to."""

    group: Digest  # the oldest image of its group
    distance: float  # levels, at most NEAR


@dataclass(frozen=True, kw_only=True)
class NearDuplicates:
    """Images of a dataset that are near-duplicates of each other."""

    group: Digest  # the oldest of them, maybe in another dataset
    count: int  # of images in the dataset
    rows: Sequence[DatasetImage]  # of the first of them, by pixels and text


def group_of(similar_images: Sequence[SimilarImage]) -> Digest | None:
    """Return the group of the most similar image, which a new one joins; None if there is none.

    Raises SplitConflict when the similar images are on different sides or in different parts: the
    new image would then leak from one to the other.
    """
    groups = {image.group for image in similar_images}
    if len({(side_of(group), part_of(group)) for group in groups}) > 1:
        raise SplitConflict(near=sorted(groups))
    nearest = min(similar_images, key=lambda image: (image.distance, image.group), default=None)
    return nearest.group if nearest else None
