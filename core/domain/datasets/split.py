"""The split of images into sides and parts, the same in every dataset."""

from enum import StrEnum

from core.domain.values import Digest, sha256

HOLDOUT_SHARE = 0.2
VALIDATION_SHARE = 0.2


class Side(StrEnum):
    """The sides of a dataset version."""

    TRAIN = "train"
    HOLDOUT = "holdout"


class Part(StrEnum):
    """The parts of a suite or holdout: one for selection, one for verdicts."""

    VALIDATION = "validation"
    TEST = "test"


def side_of(group: Digest) -> Side:
    """Return the side of a group of near-duplicates, the same in every dataset version.

    A group is identified by the pixels of its oldest image; an image without near-duplicates is a
    group of one.
    """
    return Side.HOLDOUT if _share(group, "side") < HOLDOUT_SHARE else Side.TRAIN


def part_of(group: Digest) -> Part:
    """Return the part of a suite or holdout that a group is in, independent of its side."""
    return Part.VALIDATION if _share(group, "part") < VALIDATION_SHARE else Part.TEST


def _share(pixels: Digest, purpose: str) -> float:
    """Return a number in [0, 1) that depends on the pixels and the purpose alone."""
    return int(sha256(f"{purpose}:{pixels}".encode())[:13], 16) / 16**13
