"""The limit for a single class: one that is wholly lost is a small share of a suite.

A class of 20 among 1,000 test images may be lost within a limit of 3 points. So each class has a
wide limit of its own, which can fail a version and never helps one to pass. It is asked of every
class of a suite and of an earlier holdout, with a correction for their number.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb

from core.gate.intervals import Flips, p_below
from core.gate.measures import ClassList, MeasureKind

_MOST_EXACT = 60  # images; of more, the score's p-value is as good and faster
_STEPS = 20  # of the search for the accuracy at which a loss is likeliest


@dataclass(frozen=True, kw_only=True)
class ClassLoss:
    """The images of a class that are wrong now and were right, in one comparison."""

    kind: MeasureKind
    name: str  # of the suite or holdout
    baseline: str
    baseline_version: int
    asked: ClassList
    class_name: str
    images: int  # near-duplicates counted once
    right: int
    right_before: int
    gained: int
    lost: int


def lost_classes(
    found: Iterable[ClassLoss], tolerance: float | None, alpha: float
) -> tuple[ClassLoss, ...]:
    """Return the classes that have lost significantly more than a tolerance, the surest first.

    By Holm's step-down over all of them, at family-wise one-sided error `alpha`. Without a
    tolerance there is none.
    """
    if tolerance is None:
        return ()
    ordered = sorted(((_p_value(one, tolerance), one) for one in found), key=lambda pair: pair[0])
    for done, (p_value, _) in enumerate(ordered):
        if p_value >= alpha / (len(ordered) - done):
            return _losses(ordered[:done])
    return _losses(ordered)


def _losses(ordered: Sequence[tuple[float, ClassLoss]]) -> tuple[ClassLoss, ...]:
    return tuple(one for _, one in ordered)


def _p_value(loss: ClassLoss, tolerance: float) -> float:
    net = loss.right_before - loss.right
    if net <= tolerance * loss.images:
        return 1.0
    if loss.images <= _MOST_EXACT:
        return exact_p(loss.images, net, tolerance)
    return p_below(Flips(count=loss.images, gained=loss.gained, lost=loss.lost), -tolerance)


@lru_cache(maxsize=10_000)
def exact_p(images: int, net: int, tolerance: float) -> float:
    """Return the largest chance of so large a net loss of right answers, at the tolerance.

    The versions are taken to be right independently of each other, at the accuracies at which this
    is likeliest (S. Suissa and J. J. Shuster, J. R. Stat. Soc. A 148 (1985) 317-327). Versions that
    tend to be right about the same images differ less by chance.
    """
    accuracies = (tolerance + (1 - tolerance) * step / _STEPS for step in range(_STEPS + 1))
    return max(
        sum(
            _chance(images, before, accuracy)
            * sum(_chance(images, now, accuracy - tolerance) for now in range(before - net + 1))
            for before in range(net, images + 1)
        )
        for accuracy in accuracies
    )


@lru_cache(maxsize=100_000)
def _chance(count: int, right: int, accuracy: float) -> float:
    wrong = count - right
    return comb(count, right) * float(accuracy**right) * float((1 - accuracy) ** wrong)
