"""Sample sizes: the numbers of images that settle a measure."""

from math import ceil, inf, sqrt

from core.gate.changes import alone
from core.gate.intervals import Flips, quantile, score, score_deviation, sixth_of_skewness
from core.gate.levels import label_counts
from core.gate.measures import Measure
from core.gate.rules import GatePolicy

# The chance that the advised number of images decides is 80 %: this z is not exceeded with it.
_POWER = quantile(0.2)

# More test images are advised if they are at most ten times the present ones, or 5,000. The doubt
# shrinks by their square root: a difference that takes more is less than half of its interval's
# half-width from the limit, so it lies at the limit.
_MOST_TIMES, _ALWAYS_ADVISED = 10, 5000


def images_to_settle(
    measure: Measure, *, alpha: float, level: float | None = None, tests: int
) -> int | None:
    """Return how many more images, or labels, settle a measure with a chance of 80 %.

    Of an unlabelled suite it is labels of disagreements. Answers are taken to flip at the rates
    that were seen. `level` is the error of the lower bound with more images, `alpha` unless said
    otherwise, and `tests` the number of measures that Holm's first step divides `alpha` by. Returns
    None if the difference lies at the tolerance, so that no practical number of images would do.
    """
    flips, at = measure.flips, -measure.tolerance
    reached = score(flips, at)  # grows with the square root of the images; skewness shrinks
    if reached > 0:
        times = times_to_hold(measure.deciding, at, alpha if level is None else level)
    elif reached < 0:  # the root solves reached r^2 + z r - skewness / 6 (z^2 - 1) = 0, with power
        z = quantile(alpha / tests)
        skewed = sixth_of_skewness(flips, at) * (z * z - 1)
        z += _POWER * score_deviation(flips, at)
        times = ((z + sqrt(max(0.0, z * z + 4 * reached * skewed))) / (-2 * reached)) ** 2
    else:
        times = inf
    known = measure.disagreements
    sampled = measure.images * (known.sampled if known else 1)
    most = max((_MOST_TIMES - 1) * sampled, _ALWAYS_ADVISED)
    if sampled * (times - 1) > most:
        return None
    if known is None or not known.total:
        return ceil(measure.images * (times - 1))
    wanted = ceil(known.labelled * times)
    counts = label_counts(known.total, known.labelled)
    return next((one for one in counts if one >= wanted), wanted) - known.labelled


def times_to_hold(flips: Flips, at: float, alpha: float) -> float:
    """Return how many times as many answers have a lower bound of `at` or more, by 80 % chance.

    They flip at the rates of these. The bound's one-sided error is `alpha`. Infinite if no number
    would do.
    """
    reached = score(flips, at)
    if reached <= 0:
        return inf
    root = (quantile(alpha) + _POWER * score_deviation(flips, at)) / reached
    return root * root


# The room that a loss on validation images leaves, in standard deviations of that on test images.
# More would shrink updates by chance: see `bench-fitting`.
ROOM = 1.0


def would_hold(measure: Measure, policy: GatePolicy, *, times: float, room: float = ROOM) -> bool:
    """Return whether a measure would hold, with room, on so many times its images.

    They are taken to flip at the rates of these.
    """
    share = measure.strictness(round(measure.distinct * times), policy.minimum_count)
    level = policy.alpha if measure.level is None or share <= 0 else measure.level
    z = share * (quantile(level) + room)
    asked = [(measure.deciding, z)]
    if measure.holds_by_views:
        asked.append((measure.flips, min(z, 0.0)))
    for others in () if measure.only_fails else measure.others:
        distinct = 0 if measure.pooled else round(others.distinct * times)
        least = alone(distinct, policy.minimum_count, room)
        asked.append((others.deciding, least))
    return all(score(flips.scaled(times), -measure.tolerance) >= least for flips, least in asked)
