"""The gate: its policy, and the verdict on a version."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import ceil, inf, sqrt

from core.domain.gate import reasons
from core.domain.gate.budget import ErrorBudget
from core.domain.gate.intervals import p_below, quantile, score, sixth_of_skewness
from core.domain.gate.measure import Measure, MeasureKind, Outcome, Ruling
from core.domain.values import PolicyId

_FARTHEST = 4096.0  # times the present images; needing more than that is no practical advice


class Verdict(StrEnum):
    """The gate's verdict."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, kw_only=True)
class GatePolicy:
    """Tolerances for what a version may forget, in fractions of 1: 0.03 is three points."""

    id: PolicyId
    name: str
    parent_tolerance: float = 0.03  # suites, against the parent
    root_tolerance: float = 0.05  # suites, against the root
    holdout_tolerance: float = 0.05  # holdouts of other updates
    wanted_gain: float = 0.0  # lower bound of the gain on the update's own holdout
    minimum_count: int = 500  # of test images; with fewer, a measure can fail but does not guard
    alpha: float = 0.005  # one-sided error of each bound
    line_error: float | None = None  # of all verdicts of a line by the same test images, together
    line_updates: int = 100  # verdicts that spend half of it
    negative_flips: float | None = None  # of a suite's formerly right answers; None: not judged
    reason: str = ""  # why it differs from the defaults, shown in every report
    created_at: datetime

    @property
    def budget(self) -> ErrorBudget | None:
        """The error budget of a line; None if each verdict is judged as if it were the only one."""
        if self.line_error is None:
            return None
        return ErrorBudget(total=self.line_error, half=self.line_updates)

    def level(self, verdict: int) -> float | None:
        """Return the error of lower bounds in a line's verdict by the same test images.

        `verdict` counts from 1. Returns None if there is no budget, so that `alpha` applies.
        """
        return None if self.budget is None else min(self.alpha, self.budget.share(verdict))


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The verdict, the ruling on each measure, and the reasons in sentences."""

    verdict: Verdict
    rulings: tuple[Ruling, ...]
    reasons: tuple[str, ...]


def judge(measures: Sequence[Measure], policy: GatePolicy, faults: Sequence[str] = ()) -> Judgement:
    """Return the gate's judgement; `faults` are reasons to fail regardless of the measures.

    Passed: the lower bound of every guarded measure is within its tolerance (without correction,
    because all must hold) and that of the gain reaches the wanted gain. Failed: a measure is below
    its tolerance, by Holm's step-down over all measures. Inconclusive: everything else, also when
    no measure is guarded or there is no measure of the gain.

    A measure with fewer images than the policy's minimum can fail, because a p-value is valid at
    any size. Otherwise it has no influence: it neither supports a pass nor, when open, prevents
    one. The gain must be shown at any size: its score interval is wide if images are few, and with
    a minimum a small update could never pass. If the line has an error budget, each measure's lower
    bound already has the error that is left for this verdict; failing spends nothing.
    """
    deciding = [m for m in measures if _may_hold(m, policy)]
    failing = _below_tolerance(measures, policy.alpha)
    rulings = tuple(_rule(m, len(measures), failing, policy) for m in measures)
    guarded = [m for m in deciding if m.kind is not MeasureKind.GAIN]
    has_gain = len(guarded) < len(deciding)
    if faults or failing:
        verdict = Verdict.FAILED
    elif guarded and has_gain and all(m.holds for m in deciding):
        verdict = Verdict.PASSED
    else:
        verdict = Verdict.INCONCLUSIVE
    return Judgement(
        verdict=verdict,
        rulings=rulings,
        reasons=(
            *faults,
            *reasons.explain(
                rulings,
                passed=verdict is Verdict.PASSED,
                guarded=len(guarded),
                has_gain=has_gain,
                minimum_count=policy.minimum_count,
                worn_out=[m for m in guarded if m.is_worn_out(policy.alpha)],
            ),
        ),
    )


def _may_hold(measure: Measure, policy: GatePolicy) -> bool:
    return measure.kind is MeasureKind.GAIN or measure.images >= policy.minimum_count


def _below_tolerance(measures: Sequence[Measure], alpha: float) -> list[Measure]:
    """Return the measures below tolerance, at family-wise one-sided error `alpha` (Holm, 1979)."""
    ordered = sorted(measures, key=lambda m: p_below(m.flips, -m.tolerance))
    for done, measure in enumerate(ordered):
        if p_below(measure.flips, -measure.tolerance) >= alpha / (len(ordered) - done):
            return ordered[:done]
    return ordered


def _rule(measure: Measure, tests: int, failing: Sequence[Measure], policy: GatePolicy) -> Ruling:
    if measure in failing:
        return Ruling(measure=measure, outcome=Outcome.FAILS)
    if not _may_hold(measure, policy):
        return Ruling(
            measure=measure,
            outcome=Outcome.ADVISORY,
            more_images=policy.minimum_count - measure.images,
        )
    if measure.holds:
        return Ruling(measure=measure, outcome=Outcome.HOLDS)
    more = images_to_settle(measure, alpha=policy.alpha, tests=tests)
    return Ruling(measure=measure, outcome=Outcome.OPEN, more_images=more)


def images_to_settle(measure: Measure, *, alpha: float, tests: int) -> int | None:
    """Return how many more images would settle a measure if answers flip at the same rate.

    `tests` is the number of measures that Holm's first step divides `alpha` by. Returns None if
    the difference is so close to the tolerance that thousands of times the images would not do.
    """
    at = -measure.tolerance
    reached = score(measure.flips, at)  # grows with the square root of the images; skewness shrinks
    if reached > 0:
        root = quantile(measure.level or alpha) / reached
    elif reached < 0:  # the root solves reached r^2 + z r - skewness / 6 (z^2 - 1) = 0
        z = quantile(alpha / tests)
        skewed = sixth_of_skewness(measure.flips, at) * (z * z - 1)
        root = (z + sqrt(max(0.0, z * z + 4 * reached * skewed))) / (-2 * reached)
    else:
        root = inf
    factor = root * root
    return ceil(measure.images * (factor - 1)) if factor <= _FARTHEST else None
