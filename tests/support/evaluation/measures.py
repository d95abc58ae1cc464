"""Measures and policies of the gate."""

from core.gate.judge import Judgement
from core.gate.kinds import MeasureKind, Outcome
from core.gate.measures import Measure


def measure(
    kind: MeasureKind = MeasureKind.ZERO_SHOT,
    *,
    count: int = 2000,
    gained: int = 0,
    lost: int = 0,
    tolerance: float = 0.03,
    name: str = "emoji",
    design_effect: float = 1.0,
    images: int | None = None,
    minimum_count: int = 500,
    pooled: bool = False,
) -> Measure:
    still = count - gained - lost
    return Measure.of(
        kind,
        name=name,
        baseline="parent",
        baseline_version=1,
        tolerance=tolerance,
        images=images or count,
        now=[True] * gained + [False] * lost + [True] * still,
        before=[False] * gained + [True] * lost + [True] * still,
        design_effect=design_effect,
        alpha=0.005,
        minimum_count=minimum_count,
        pooled=pooled,
    )


def gain(gained: int = 60, lost: int = 5, count: int = 100, wanted: float = 0.0) -> Measure:
    return measure(
        MeasureKind.GAIN, count=count, gained=gained, lost=lost, tolerance=-wanted, name="version 2"
    )


def outcomes(judgement: Judgement) -> list[Outcome]:
    return [ruling.outcome for ruling in judgement.measures]
