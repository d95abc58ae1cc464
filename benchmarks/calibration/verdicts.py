"""The gate's verdicts on drawn suites, by its own code and by a vectorised form of its rule."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration.intervals import Statistic, skewness_corrected, tango_score
from benchmarks.calibration.outcomes import CAPTIONS
from benchmarks.calibration.sampling import SampledCounts
from core.domain.gate.intervals import quantile
from core.domain.gate.measure import Measure, MeasureKind
from core.domain.gate.policy import GatePolicy, Verdict, judge
from core.domain.values import PolicyId

POLICY = GatePolicy(  # the service's, but without a minimum of images
    id=PolicyId("study"), name="study", minimum_count=1, created_at=datetime(2026, 1, 1, tzinfo=UTC)
)
GAIN = SampledCounts(  # an update that learned: 60 of its 100 held-out images are right only now
    question="gain",
    images=100,
    count=np.array([100]),
    gained=np.array([60]),
    lost=np.array([5]),
    design_effect=np.ones(1),
)
PASSED, FAILED, INCONCLUSIVE = Verdict
_KINDS = {
    "image to text": MeasureKind.IMAGE_TO_TEXT,
    CAPTIONS: MeasureKind.TEXT_TO_IMAGE,
    "gain": MeasureKind.GAIN,
}


@dataclass(frozen=True, kw_only=True)
class Guard:
    """One guarded measure in many drawn suites, and its tolerance."""

    drawn: SampledCounts
    tolerance: float  # fraction of 1


def verdicts(guards: Sequence[Guard], policy: GatePolicy = POLICY) -> NDArray[np.str_]:
    """Return the verdict on each draw, (draws,), by a vectorised form of the gate's rule."""
    guarding = [guard for guard in guards if guard.drawn.images >= policy.minimum_count]
    tests = len(guards) + 1  # the gain, which holds, is judged too
    failing = _lowest(guards, skewness_corrected) < -quantile(policy.alpha / tests)
    holding = _lowest(guarding, tango_score) >= quantile(policy.alpha)
    passed = holding & bool(guarding)
    return np.where(failing, FAILED, np.where(passed, PASSED, INCONCLUSIVE))


def _lowest(guards: Sequence[Guard], statistic: Statistic) -> NDArray[np.float64]:
    """Return the lowest score of all measures, (draws,)."""
    scores = [
        statistic(
            guard.drawn.count / guard.drawn.design_effect,
            guard.drawn.gained / guard.drawn.design_effect,
            guard.drawn.lost / guard.drawn.design_effect,
            -guard.tolerance,
        )
        for guard in guards
    ]
    lowest: NDArray[np.float64] = np.min(scores, axis=0, initial=np.inf)
    return lowest


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The service's own gate, with a cache of its verdicts by counts."""

    policy: GatePolicy = POLICY
    _measures: dict[tuple[object, ...], Measure] = field(default_factory=dict)
    _verdicts: dict[tuple[object, ...], Verdict] = field(default_factory=dict)

    def verdict(self, guards: Sequence[Guard], draw: int) -> Verdict:
        """Return the verdict on one of the draws, with a gain that holds."""
        keys = tuple(_key(guard, draw) for guard in guards)
        if keys not in self._verdicts:
            gain = Guard(drawn=GAIN, tolerance=-self.policy.wanted_gain)
            measures = [self._measure(*pair) for pair in zip(guards, keys, strict=True)]
            measures.append(self._measure(gain, _key(gain, 0)))
            self._verdicts[keys] = judge(measures, self.policy).verdict
        return self._verdicts[keys]

    def _measure(self, guard: Guard, key: tuple[object, ...]) -> Measure:
        if key not in self._measures:
            _, images, count, gained, lost, effect, tolerance = key
            still = [True] * (count - gained - lost)  # type: ignore[operator]
            self._measures[key] = Measure.of(
                _KINDS.get(guard.drawn.question, MeasureKind.ZERO_SHOT),
                name=guard.drawn.question,
                baseline="parent",
                baseline_version=1,
                tolerance=tolerance,  # type: ignore[arg-type]
                images=images,  # type: ignore[arg-type]
                now=[True] * gained + [False] * lost + still,  # type: ignore[operator]
                before=[False] * gained + [True] * lost + still,  # type: ignore[operator]
                design_effect=effect,  # type: ignore[arg-type]
                alpha=self.policy.alpha,
            )
        return self._measures[key]


def _key(guard: Guard, draw: int) -> tuple[object, ...]:
    drawn = guard.drawn
    return (
        drawn.question,
        drawn.images,
        int(drawn.count[draw]),
        int(drawn.gained[draw]),
        int(drawn.lost[draw]),
        float(drawn.design_effect[draw]),
        guard.tolerance,
    )
