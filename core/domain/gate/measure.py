"""Measures, which compare a candidate with a baseline, and the gate's ruling on each."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import starmap
from operator import gt, lt

from core.domain.gate.intervals import Flips, paired_interval


class MeasureKind(StrEnum):
    """The kinds of comparison."""

    ZERO_SHOT = "zero_shot"  # top-1 on a suite
    IMAGE_TO_TEXT = "image_to_text"  # R@1 on a suite
    TEXT_TO_IMAGE = "text_to_image"  # R@1 on a suite
    HOLDOUT = "holdout"  # top-1 on another update's holdout
    HOLDOUTS = "holdouts"  # top-1 on several such holdouts, together
    GAIN = "gain"  # top-1 on this update's own holdout


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A paired comparison of the candidate with a baseline on one query.

    `difference`, bounds and `tolerance` are fractions of 1. A gain's tolerance is the negated
    wanted gain, so one rule, lower >= -tolerance, applies to every kind.
    """

    kind: MeasureKind
    name: str  # the suite, or the version whose update the holdout belongs to
    baseline: str  # "parent", "root", "parent and root", "live version" or "version 3"
    baseline_version: int | None  # None: each holdout has its own
    tolerance: float
    images: int
    count: int  # answers: images, or captions of images
    right: int  # the candidate's
    right_before: int  # the baseline's
    gained: int  # right only now
    lost: int  # right only before
    design_effect: float  # variance inflation by captions that share an image
    difference: float
    lower: float
    upper: float
    formerly_right: bool = False  # only answers that the baseline had right: negative flips
    verdicts: int | None = None  # of the line by these test images, with this one; None: unlimited
    level: float | None = None  # error of the lower bound; None: the policy's

    @classmethod
    def of(
        cls,
        kind: MeasureKind,
        *,
        name: str,
        baseline: str,
        baseline_version: int | None,
        tolerance: float,
        images: int,
        now: Sequence[bool],
        before: Sequence[bool],
        design_effect: float = 1.0,
        alpha: float,
        formerly_right: bool = False,
        verdicts: int | None = None,
        level: float | None = None,
    ) -> "Measure":
        """Return the measure of two versions' hits on the same query, answer by answer.

        `alpha` is the one-sided error of the upper bound, and of the lower one unless `level` is.
        """
        pairs = list(zip(now, before, strict=True))
        gained, lost = sum(starmap(gt, pairs)), sum(starmap(lt, pairs))  # True > False
        flips = Flips(count=len(pairs), gained=gained, lost=lost)
        independent = flips.scaled(1 / design_effect)
        interval = paired_interval(independent, alpha)
        lower = interval.lower if level is None else paired_interval(independent, level).lower
        return cls(
            kind=kind,
            name=name,
            baseline=baseline,
            baseline_version=baseline_version,
            tolerance=tolerance,
            images=images,
            count=len(pairs),
            right=sum(now),
            right_before=sum(before),
            gained=gained,
            lost=lost,
            design_effect=design_effect,
            difference=flips.difference,
            lower=lower,
            upper=interval.upper,
            formerly_right=formerly_right,
            verdicts=verdicts,
            level=level,
        )

    @property
    def flips(self) -> Flips:
        """The flips, scaled to the number of independent answers that they are worth."""
        flips = Flips(count=self.count, gained=self.gained, lost=self.lost)
        return flips.scaled(1 / self.design_effect)

    @property
    def holds(self) -> bool:
        """True if the lower bound is within the tolerance."""
        return self.lower >= -self.tolerance

    def is_worn_out(self, alpha: float) -> bool:
        """Return whether the line's budget alone keeps even unchanged answers from holding.

        With error `alpha` for its lower bound, the measure would hold if no answer flipped.
        """
        if self.level is None:
            return False
        unchanged = Flips(count=self.count, gained=0, lost=0).scaled(1 / self.design_effect)
        at_level, at_alpha = (paired_interval(unchanged, a).lower for a in (self.level, alpha))
        return at_level < -self.tolerance <= at_alpha


class Outcome(StrEnum):
    """The outcome of one measure."""

    HOLDS = "holds"
    FAILS = "fails"
    OPEN = "open"  # neither holds nor fails
    ADVISORY = "advisory"  # too few images to guard, and does not fail


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """A measure and its outcome."""

    measure: Measure
    outcome: Outcome
    more_images: int | None = None  # would settle an open measure; None: no number would
