"""The course of a trial: what its labels said, at growing numbers of labels."""

from dataclasses import dataclass
from datetime import datetime

from core.domain.trials.evidence import evidence_of
from core.domain.trials.prediction import TrialCounts
from core.domain.trials.trial import Trial, TrialMode
from core.domain.values import TrialId

GROWTH = 1.25  # of the labels from point to point: 60 points for a million of them


@dataclass(frozen=True, kw_only=True)
class CoursePoint:
    """The difference in accuracy with its interval, by so many labels."""

    trial: TrialId
    labels: int
    estimate: float
    lower: float
    upper: float
    at: datetime


def labels_of(trial: Trial, counts: TrialCounts) -> int:
    """Return how many labels count: of a shadow one for each pair, of a canary those of both."""
    if trial.mode is TrialMode.SHADOW:
        return counts.pairs.labelled
    return counts.current.labelled + counts.candidate.labelled


def next_point(
    trial: Trial, counts: TrialCounts, now: datetime, *, last: int = 0, growth: float = GROWTH
) -> CoursePoint | None:
    """Return the point of now, if the labels have grown enough since the last one."""
    labels = labels_of(trial, counts)
    if labels <= last or labels < growth * last:
        return None
    evidence = evidence_of(trial.mode, counts)
    if evidence.estimate is None:
        return None
    return CoursePoint(
        trial=trial.id,
        labels=labels,
        estimate=evidence.estimate,
        lower=evidence.interval.lower,
        upper=evidence.interval.upper,
        at=now,
    )
