"""A sequential test of a trial's candidate by labels, valid whenever one looks."""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from core.domain.gate.intervals import Interval
from core.domain.trials.confidence_sequence import (
    CONFIDENCE,
    independent_difference,
    paired_difference,
)
from core.domain.trials.prediction import TrialCounts
from core.domain.trials.trial import TrialMode


class TrialVerdict(StrEnum):
    """A comparison of the candidate with the current version."""

    BETTER = "better"
    WORSE = "worse"
    UNDECIDED = "undecided"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The accuracy of the candidate less that of the current version."""

    estimate: float | None  # None until both have a label
    interval: Interval
    confidence: float  # with which all intervals, at any time, hold the true difference

    @property
    def verdict(self) -> TrialVerdict:
        """Better or worse if the interval excludes zero."""
        if self.interval.lower > 0:
            return TrialVerdict.BETTER
        return TrialVerdict.WORSE if self.interval.upper < 0 else TrialVerdict.UNDECIDED


@lru_cache(maxsize=64)  # an interval takes up to a tenth of a second
def evidence_of(mode: TrialMode, counts: TrialCounts) -> Evidence:
    """Return what the labels say so far."""
    before, now = counts.current.accuracy, counts.candidate.accuracy
    if mode is TrialMode.SHADOW:
        interval = paired_difference(counts.pairs)
    else:
        interval = independent_difference(counts.current, counts.candidate)
    return Evidence(
        estimate=None if before is None or now is None else now - before,
        interval=interval,
        confidence=CONFIDENCE,
    )
