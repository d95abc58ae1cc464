"""The number of exemplars that are kept of each class, and of features that are drawn."""

from collections.abc import Collection


def exemplar_quota(count: int, classes: int) -> int:
    """Return the share of each class in `count` exemplars; at least one."""
    return max(1, count // max(1, classes))


def kept_exemplars(count: int, available: Collection[int]) -> int:
    """Return how many exemplars are kept of the numbers of images available, one of each class."""
    quota = exemplar_quota(count, len(available))
    return sum(min(quota, images) for images in available)


def drawn_features(count: int, replayed: int, *, images: int, classes: int) -> int:
    """Return how many features are drawn of each of the replayed classes.

    As many as an update of so many images has of each of its classes, but at most `count` together.
    """
    return min(exemplar_quota(count, replayed), -(-images // max(1, classes)))
