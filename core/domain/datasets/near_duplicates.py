"""Near-duplicates: images so alike that every split treats them as one."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.domain.datasets.dataset import part_of, side_of
from core.domain.values import Digest
from core.errors import SplitConflict

THUMBNAIL_SIDE = 8  # pixels; RGB, 8 bits a channel
# Of the distance between two thumbnails: the fourth root of the mean fourth power of their
# differences, in levels of 0 to 255. JPEG at quality 75 stays below it in 99 of 100 pictures,
# and the photographs and garments it was measured on are further apart (ADR 0015).
NEAR = 5.0


@dataclass(frozen=True, kw_only=True)
class SimilarImage:
    """A known image that a new one looks like."""

    group: Digest  # the oldest image of its group
    distance: float  # levels, at most NEAR


def group_of(similar_images: Sequence[SimilarImage]) -> Digest | None:
    """Return the group that a new image joins, its nearest look-alike's; None for no look-alike.

    Raises SplitConflict when the look-alikes are on different sides or in different parts: on
    either of them the image would be known on the other.
    """
    groups = {like.group for like in similar_images}
    if len({(side_of(group), part_of(group)) for group in groups}) > 1:
        raise SplitConflict(near=sorted(groups))
    nearest = min(similar_images, key=lambda like: (like.distance, like.group), default=None)
    return nearest.group if nearest else None
