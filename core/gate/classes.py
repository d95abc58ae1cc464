"""The limit for a single class: one that is wholly lost is a small share of a suite.

A class of 20 among 1,000 test images may be lost within a limit of 3 points. So each class has a
wide limit of its own, which can fail a version and never helps one to pass. It is asked of every
class of a suite and of a holdout, the update's own too, of holdouts together, and of all suites,
with a correction for their number.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from math import comb

from core.gate.intervals import Flips, p_below
from core.gate.kinds import ClassList, MeasureKind
from core.values import description

_MOST_EXACT = 60  # images; of more, the score's p-value is as good and faster
_STEPS = 20  # of the search for the accuracy at which a loss is likeliest


@dataclass(frozen=True, kw_only=True)
class ClassLoss:
    """The images of a class that are wrong now and were right, in one comparison."""

    kind: MeasureKind
    name: str  # of the suite or holdout, or of several: "3 suites", "3 updates" of small holdouts
    baseline: str
    baseline_version: int | None  # None: each holdout has its own
    asked: ClassList
    class_name: str
    images: int  # near-duplicates counted once
    right: int
    right_before: int
    gained: int
    lost: int
    own_prompts: bool = field(
        default=False,
        metadata=description(
            "Whether each version was asked in its own prompt, which callers get who send none, as "
            "the two differ; else in that of the suite or holdout."
        ),
    )
    edition: int | None = field(
        default=None,
        metadata=description(
            "The earlier edition whose images alone are counted, where more were added since. "
            "Null: all are."
        ),
    )
    live_right: int | None = field(
        default=None,
        metadata=description(
            "Of the live version, where the comparison is with the root or the settled version. If "
            "it has lost more than the limit itself, this version does not fail for the class."
        ),
    )

    def live_is_beyond(self, tolerance: float | None) -> bool:
        """Return whether the live version itself has lost more than the tolerance."""
        if tolerance is None or self.live_right is None:
            return False
        return self.right_before - self.live_right > tolerance * self.images


def lost_classes(
    found: Iterable[ClassLoss], tolerance: float | None, alpha: float
) -> tuple[ClassLoss, ...]:
    """Return the classes that have lost significantly more than a tolerance, the surest first.

    By Holm's step-down over all of them, at family-wise one-sided error `alpha`, of which each
    suite and holdout, and several together, have an equal share (weighted as in S. Holm, Scand. J.
    Stat. 6 (1979) 65-70): so the classes of one do not hide what is lost in another. Without a
    tolerance there is none.
    """
    if tolerance is None:
        return ()
    every = list(found)
    sizes = Counter((one.kind, one.name) for one in every)
    weighted = [(1 / sizes[one.kind, one.name], _p_value(one, tolerance), one) for one in every]
    ordered = sorted(weighted, key=lambda one: one[1] / one[0])
    left = float(len(sizes))  # the weights of those that are not rejected yet
    for done, (weight, p_value, _) in enumerate(ordered):
        if p_value * left >= alpha * weight:
            ordered = ordered[:done]
            break
        left -= weight
    return tuple(one for *_, one in ordered)


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
