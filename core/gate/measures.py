"""Measures: paired comparisons of a candidate with a baseline, with their intervals."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache, lru_cache
from itertools import starmap
from math import isinf, sqrt
from operator import gt, lt
from statistics import NormalDist
from typing import Self

from core.values import description

# Confidence intervals of proportions and of paired differences of proportions.
#
# All bounds are one-sided at error `alpha`; lower and upper together form a two-sided
# interval of level 1 - 2 alpha. Score intervals keep a positive width when nothing flips, so
# that five unchanged images do not count as proof.

ALPHA = 0.005
_HALVINGS = 60  # of an interval at most 2 wide, to less than 1e-17
_NORMAL = NormalDist()


@cache
def quantile(alpha: float) -> float:
    """Return the standard normal value that is exceeded with probability `alpha`."""
    return -_NORMAL.inv_cdf(alpha)  # of 1 - alpha, nothing is left of a very small one


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A lower and an upper bound."""

    lower: float
    upper: float


@dataclass(frozen=True, kw_only=True)
class Flips:
    """Answers to one query by two versions, paired image by image.

    There are `count` pairs: `gained` of them are right only now, `lost` were right only before.
    Fractions are allowed, because clustered answers count for less than one each.
    """

    count: float
    gained: float
    lost: float

    @property
    def difference(self) -> float:
        """Accuracy now minus accuracy before."""
        return (self.gained - self.lost) / self.count

    def scaled(self, factor: float) -> "Flips":
        """Return `factor` times as many answers, which flip at the same rates."""
        return Flips(
            count=self.count * factor, gained=self.gained * factor, lost=self.lost * factor
        )


def _flipping(flips: Flips, at: float) -> float:
    """Return the share of answers that flip if the true difference is `at`.

    The nuisance parameter, the rate of losses, has its most likely value under that
    restriction: the larger root of 2n q^2 + B q + C = 0.
    """
    n, gained, lost = flips.count, flips.gained, flips.lost
    b = (2 * n - gained + lost) * at - gained - lost
    c = -lost * at * (1 - at)
    rate = (sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    return 2 * rate + at


def _deviation(flips: Flips, at: float) -> float:
    """Return the standard deviation of gained - lost if the true difference is `at`."""
    return sqrt(max(0.0, flips.count * (_flipping(flips, at) - at * at)))


def score(flips: Flips, at: float) -> float:
    """Return Tango's score: standard deviations from `at` to the observed difference."""
    distance = flips.gained - flips.lost - flips.count * at
    if abs(distance) < 1e-12:
        return 0.0
    deviation = _deviation(flips, at)
    return distance / deviation if deviation else float("inf") * distance


def score_deviation(flips: Flips, at: float) -> float:
    """Return the standard deviation of `score` if answers flip at the observed rates."""
    observed = flips.gained + flips.lost - flips.count * flips.difference**2
    return sqrt(max(0.0, observed)) / _deviation(flips, at)


def sixth_of_skewness(flips: Flips, at: float) -> float:
    """Return a sixth of the skewness of gained - lost if the true difference is `at`."""
    deviation = _deviation(flips, at)
    if not deviation:
        return 0.0
    third = flips.count * at * (1 - 3 * _flipping(flips, at) + 2 * at * at)
    return third / deviation**3 / 6


def corrected_score(flips: Flips, at: float) -> float:
    """Return Tango's score, corrected for the skewness of the difference.

    Source: P. J. Laud, Pharmaceutical Statistics 16 (2017) 334-348: the z that solves
    z + skewness / 6 (z^2 - 1) = score.
    """
    plain, sixth = score(flips, at), sixth_of_skewness(flips, at)
    if isinf(plain) or abs(sixth) < 1e-12:
        return plain
    return (sqrt(max(0.0, 1 + 4 * sixth * (plain + sixth))) - 1) / (2 * sixth)


def p_below(flips: Flips, at: float) -> float:
    """Return the one-sided p-value of "the true difference is at least `at`", at any size.

    Without the correction for skewness, measures with few images and no gain would fail too
    often, and more so the more such measures there are.
    """
    return _NORMAL.cdf(corrected_score(flips, at))


def score_bound(flips: Flips, z: float) -> float:
    """Return the difference from which the observed one lies z standard deviations upwards.

    A negative z gives a difference above the observed one.
    """
    left, right = -1.0, 1.0
    for _ in range(_HALVINGS):
        middle = (left + right) / 2
        distance = flips.gained - flips.lost - flips.count * middle
        if distance > z * _deviation(flips, middle):
            left = middle
        else:
            right = middle
    return right


@lru_cache(maxsize=10_000)  # the classes of a report share few counts, and pages ask for it again
def paired_interval(flips: Flips, alpha: float = ALPHA) -> Interval:
    """Return Tango's score interval of a paired difference.

    Source: T. Tango, Statistics in Medicine 17 (1998) 891-908. The bounds are the two
    differences from which the observed one lies exactly z standard deviations away.
    """
    z = quantile(alpha)
    mirrored = Flips(count=flips.count, gained=flips.lost, lost=flips.gained)
    return Interval(lower=score_bound(flips, z), upper=-score_bound(mirrored, z))


def proportion_interval(hits: float, count: int, alpha: float = ALPHA) -> Interval:
    """Return Wilson's score interval of a single proportion."""
    z = quantile(alpha)
    rate, spread = hits / count, z * z / count
    centre = rate + spread / 2
    reach = z * sqrt((rate * (1 - rate) + spread / 4) / count)
    return Interval(
        lower=max(0.0, (centre - reach) / (1 + spread)),
        upper=min(1.0, (centre + reach) / (1 + spread)),
    )


def design_effect(clusters: Iterable[Flips], alpha: float = ALPHA) -> float:
    """Return the factor by which clustering inflates the variance of a paired difference.

    It is at least 1, and exactly 1 for singletons. Each cluster holds the answers that share an
    image or are about near-duplicates. The ratio of the variance between clusters (N. A.
    Obuchowski, Statistics in Medicine 17 (1998) 1495-1507) to that of independent answers is
    estimated after adding z^2 flips of the worst case, in which all answers of a cluster flip
    together. So few flips have little influence, and without any flip the clusters count, not their
    answers.
    """
    members = list(clusters)
    total = sum(cluster.count for cluster in members)
    gained = sum(cluster.gained for cluster in members)
    lost = sum(cluster.lost for cluster in members)
    mean = (gained - lost) / total
    between = sum((c.gained - c.lost - c.count * mean) ** 2 for c in members)
    independent = gained + lost - total * mean * mean
    worst = sum(cluster.count**2 for cluster in members) / total
    prior = quantile(alpha) ** 2
    return max(1.0, (between + prior * worst) / (independent + prior))


# Measures, which compare a candidate with a baseline, and the gate's ruling on each.


class MeasureKind(StrEnum):
    """The kinds of comparison."""

    ZERO_SHOT = "zero_shot"  # top-1 on a suite
    IMAGE_TO_TEXT = "image_to_text"  # R@1 on a suite
    TEXT_TO_IMAGE = "text_to_image"  # R@1 on a suite
    HOLDOUT = "holdout"  # top-1 on another update's holdout
    HOLDOUTS = "holdouts"  # top-1 on several such holdouts, together
    GAIN = "gain"  # top-1 on this update's own holdout


SUITES = {MeasureKind.ZERO_SHOT, MeasureKind.IMAGE_TO_TEXT, MeasureKind.TEXT_TO_IMAGE}


class ClassList(StrEnum):
    """The list of classes that both versions choose from."""

    OWN = "own"  # of the suite, or what was known when the update was learned: what is forgotten?
    UNION = "union"  # these and all that the candidate has learned: what do newer ones swallow?


def strictness(distinct: int, minimum_count: int, *, pooled: bool) -> float:
    """Return the share of the full level's z by which a lower bound lies below the difference.

    With `minimum_count` distinct images it is 1. With fewer it is their share of that number, so
    that of hardly any images the difference itself has to be within tolerance. Of a pooled holdout
    it goes from -1 to 1 instead: a small one holds unless it fails, because the pool is judged as
    well.
    """
    share = min(1.0, distinct / minimum_count)
    return 2 * share - 1 if pooled else share


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A paired comparison of the candidate with a baseline on one query.

    `difference`, bounds and `tolerance` are fractions of 1. A gain's tolerance is the negated
    wanted gain, so one rule, lower >= -tolerance, applies to every kind. How far `lower` lies below
    the difference grows with the images, up to the policy's minimum (`strictness`).
    """

    kind: MeasureKind
    name: str = field(
        metadata=description("The suite, or the version whose update the holdout belongs to.")
    )
    baseline: str = field(
        metadata=description(
            "What the version compared with is: the parent, the live version, the root or the "
            "settled version, which is the first promoted one after that of the holdout; or "
            "several of these.",
            ["parent", "live version and root", "parent and settled version"],
        )
    )
    baseline_version: int | None  # None: each holdout has its own
    tolerance: float = field(
        metadata=description("A fraction of 1; for a gain, the wanted gain, negated.")
    )
    images: int
    distinct: int = field(
        metadata=description(
            "Images of which a prediction counts, near-duplicates as one: what a policy's "
            "`minimum_count` counts."
        )
    )
    count: int = field(
        metadata=description("Number of predictions: one per image, or per caption.")
    )
    right: int  # the candidate's
    right_before: int  # the baseline's
    gained: int = field(metadata=description("Correct for this version, wrong for the baseline."))
    lost: int = field(metadata=description("Correct for the baseline, wrong for this version."))
    design_effect: float = field(
        metadata=description("Variance inflation because captions and near-duplicates go together.")
    )
    difference: float
    lower: float = field(
        metadata=description(
            "The bound that decides: a measure holds if it is at least -`tolerance`. With fewer "
            "test images than the policy's minimum it lies nearer to `difference`; that of a "
            "`pooled` holdout with few images lies above it."
        ),
    )
    interval_lower: float = field(
        metadata=description(
            "With `upper` the two-sided interval of `difference`, each bound at one-sided error "
            "`alpha` of the policy, whatever decides."
        ),
    )
    upper: float
    asked: ClassList = field(
        default=ClassList.OWN,
        metadata=description(
            "The classes that both versions choose from: those of the suite or of the time when "
            "the update was learned (`own`), or these and all that this version has learned "
            "(`union`)."
        ),
    )
    classes: int | None = field(
        default=None,
        metadata=description(
            "Number of classes to choose from. Null for captions, and where holdouts differ in it."
        ),
    )
    pooled: bool = field(
        default=False,
        metadata=description("Whether another measure is of these images and others together."),
    )
    live_difference: float | None = field(
        default=None,
        metadata=description(
            "The `difference` that the live version itself has to the root or settled version. "
            "Where it lost more than `tolerance`, this version cannot fail for it."
        ),
    )
    formerly_right: bool = field(
        default=False,
        metadata=description(
            "Whether only predictions that were right before count: `lost` out of `count` are then "
            "negative flips, and `tolerance` is the limit for their share."
        ),
    )
    verdicts: int | None = field(
        default=None,
        metadata=description(
            "Versions of the line that these test images have judged, with this one."
        ),
    )
    luck: float = field(
        default=1.0,
        metadata=description(
            "What the level of the line's budget is divided by, because the version's ancestors "
            "were chosen among several tries."
        ),
    )
    level: float | None = field(
        default=None,
        metadata=description(
            "One-sided error of the lower bound of a measure with enough images, if the line's "
            "budget sets it."
        ),
    )

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
        distinct: int | None = None,
        now: Sequence[bool],
        before: Sequence[bool],
        design_effect: float = 1.0,
        alpha: float,
        minimum_count: int = 1,
        pooled: bool = False,
        live_difference: float | None = None,
        asked: ClassList = ClassList.OWN,
        classes: int | None = None,
        formerly_right: bool = False,
        verdicts: int | None = None,
        luck: float = 1.0,
        level: float | None = None,
    ) -> "Measure":
        """Return the measure of two versions' hits on the same query, answer by answer.

        All images are distinct unless said otherwise. `alpha` and `minimum_count` are the policy's,
        as in `bounded`.
        """
        pairs = list(zip(now, before, strict=True))
        gained, lost = sum(starmap(gt, pairs)), sum(starmap(lt, pairs))  # True > False
        difference = Flips(count=len(pairs), gained=gained, lost=lost).difference
        return cls(
            kind=kind,
            name=name,
            baseline=baseline,
            baseline_version=baseline_version,
            tolerance=tolerance,
            images=images,
            distinct=images if distinct is None else distinct,
            count=len(pairs),
            right=sum(now),
            right_before=sum(before),
            gained=gained,
            lost=lost,
            design_effect=design_effect,
            difference=difference,
            lower=difference,
            interval_lower=difference,
            upper=difference,
            pooled=pooled,
            live_difference=live_difference,
            asked=asked,
            classes=classes,
            formerly_right=formerly_right,
            verdicts=verdicts,
            luck=luck,
            level=level,
        ).bounded(alpha, minimum_count)

    def bounded(self, alpha: float, minimum_count: int) -> Self:
        """Return the measure with its bounds under a policy.

        `alpha` is the one-sided error of the upper bound and, unless `level` is, of the lower bound
        of a measure with `minimum_count` distinct images.
        """
        share = 1.0
        if self.kind is not MeasureKind.GAIN:  # which has to be shown at any size
            share = strictness(self.distinct, minimum_count, pooled=self.pooled)
        z = share * quantile(alpha if self.level is None else self.level)
        interval = paired_interval(self.flips, alpha)
        return replace(
            self,
            lower=score_bound(self.flips, z),
            interval_lower=interval.lower,
            upper=interval.upper,
        )

    def guards(self, minimum_count: int) -> bool:
        """Return whether it has images enough to show that accuracy was kept."""
        alone = self.kind is not MeasureKind.GAIN and not self.pooled
        return alone and self.distinct >= minimum_count

    @property
    def flips(self) -> Flips:
        """The flips, scaled to the number of independent answers that they are worth."""
        flips = Flips(count=self.count, gained=self.gained, lost=self.lost)
        return flips.scaled(1 / self.design_effect)

    @property
    def live_is_beyond(self) -> bool:
        """True if the live version itself has lost more than the tolerance."""
        return self.live_difference is not None and self.live_difference < -self.tolerance

    @property
    def decides_apart(self) -> bool:
        """True if the bound that decides is not the lower end of the interval, as told in points.

        With few images less is asked, and a line's budget asks for more.
        """
        return abs(self.lower - self.interval_lower) >= 0.0005

    @property
    def holds(self) -> bool:
        """True if the lower bound is within the tolerance."""
        return self.lower >= -self.tolerance

    def is_worn_out(self, alpha: float, minimum_count: int) -> bool:
        """Return whether the line's budget alone keeps even unchanged answers from holding.

        With error `alpha` for its lower bound, the measure would hold if no answer flipped.
        """
        if self.level is None:
            return False
        unchanged = replace(self, gained=0, lost=0)
        at_alpha = replace(unchanged, level=None).bounded(alpha, minimum_count)
        return at_alpha.holds and not unchanged.bounded(alpha, minimum_count).holds


class Outcome(StrEnum):
    """The outcome of one measure."""

    HOLDS = "holds"
    FAILS = "fails"
    OPEN = "open"  # neither holds nor fails


@dataclass(frozen=True, kw_only=True)
class Ruling(Measure):
    """A paired comparison of the candidate with a baseline, and the gate's ruling on it."""

    outcome: Outcome
    more_images: int | None = field(
        metadata=description(
            "About how many more images would decide an open measure with a chance of 80 %, if "
            "predictions keep changing at the same rate."
        )
    )

    @classmethod
    def on(cls, measure: Measure, outcome: Outcome, more_images: int | None = None) -> "Ruling":
        """Return the ruling on a measure; `more_images` is None if no number would decide it."""
        return cls(**(vars(measure) | {"outcome": outcome, "more_images": more_images}))
