"""Trials: two versions behind one alias."""

from collections import Counter
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Self

from core.errors import FieldInvalid, PredictionLabelled, TrialEnded
from core.gate.intervals import Interval
from core.registry.versions import Version
from core.trials.bets import CONFIDENCE, Hits, Pairs, independent_difference, paired_difference
from core.values import Digest, ModelId, PredictionId, TrialId, sha256

LARGEST_SHARE = 0.5


class TrialMode(StrEnum):
    """A way to ask the candidate."""

    CANARY = "canary"  # it answers a share of the requests
    SHADOW = "shadow"  # it is asked about every image once the current version has answered


class TrialEnd(StrEnum):
    """The reason for which a trial ended. With its model a trial is deleted instead."""

    # Beside each, the function that ends it so.

    PROMOTED = "promoted"  # the alias moved to the candidate: `run.end_on_move`
    STOPPED = "stopped"  # by an operator: `run.stop_trial`
    ALIAS_MOVED = "alias_moved"  # to another version: `run.end_on_move`
    ALIAS_DELETED = "alias_deleted"  # `upkeep.delete.delete_alias`
    ERASED = "erased"  # an image that the candidate learned from: `erasure.erase_images`
    FAILED = "failed"  # the candidate of a canary, at the gate: `run.end_failed_canaries`


class Arm(StrEnum):
    """The version whose answer goes out."""

    CURRENT = "current"
    CANDIDATE = "candidate"


Caller = tuple[TrialId, Digest]  # see `Trial.caller_of`


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A candidate that is asked beside the version that an alias points at.

    An alias has at most one that runs.
    """

    id: TrialId
    model: ModelId
    alias: str
    mode: TrialMode
    current: int  # version
    candidate: int  # version
    share: float | None = None  # of the requests, for a canary
    reason: str = ""
    started_by: str
    started_at: datetime
    ended_by: str | None = None
    ended_at: datetime | None = None
    end: TrialEnd | None = None

    def arm_of(self, routing_key: str) -> Arm:
        """Return the arm that answers the requests of a routing key, always the same one.

        The keys of the candidate's arm are the part `share` of all, and other ones in each trial.
        """
        if self.share is None:
            return Arm.CURRENT
        place = int(self.caller_of(routing_key)[:16], 16) / 2**64
        return Arm.CANDIDATE if place < self.share else Arm.CURRENT

    def caller_of(self, routing_key: str) -> Digest:
        """Return a digest that stands for a routing key, a different one in each trial."""
        return sha256(f"{self.id} {routing_key}".encode())

    def require_running(self) -> None:
        """Raise TrialEnded if the trial has ended."""
        if self.end is not None:
            raise TrialEnded(trial=self.id, end=self.end.value)


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A trial that runs, and the version that is its candidate."""

    trial: Trial
    candidate: Version


def require_share(mode: TrialMode, share: float | None) -> None:
    """Raise FieldInvalid unless a canary has a share, up to a half, and a shadow has none."""
    if (mode is TrialMode.CANARY) != (share is not None):
        raise FieldInvalid("A canary takes a share, a shadow takes none.", pointer="/share")
    if share is not None and not 0 < share <= LARGEST_SHARE:
        raise FieldInvalid(
            f"A canary's share is more than 0 and at most {LARGEST_SHARE}.", pointer="/share"
        )


def require_trial(*, current: Version, candidate: Version) -> None:
    """Raise unless a version may be tried beside the current one, be it as a shadow.

    Raises FieldInvalid, ArtifactGone or LearnedErasedImages.
    """
    if candidate.digest == current.digest:
        raise FieldInvalid(
            f"Version {candidate.number} has the weights of version {current.number}, at which "
            "the alias points.",
            pointer="/version",
        )
    candidate.require_weights()
    candidate.require_clean()


# Predictions made during a trial, their labels, and what they count for.


class Shadowed(StrEnum):
    """The outcome of asking the candidate of a shadow."""

    ANSWERED = "answered"
    DROPPED = "dropped"  # too many waited
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The most probable class of an image, and the label that was sent back for it."""

    id: PredictionId
    trial: TrialId
    mode: TrialMode
    arm: Arm
    answer: str  # the class that went out
    caller: Digest | None = None  # of a canary: see `Trial.caller_of`
    shadowed: Shadowed | None = None  # None for a shadow: the candidate has not been asked yet
    shadow_answer: str | None = None  # the candidate's class
    label: str | None = None
    same_caller: bool = False  # another label of its caller has counted, so that this one does not
    at: datetime

    def labelled(self, label: str) -> Self:
        """Return the prediction with its label, which stays.

        Raises PredictionLabelled if it has another one.
        """
        if self.label is not None and not same_class(self.label, label):
            raise PredictionLabelled(prediction=self.id, label=self.label)
        return replace(self, label=self.label or label)

    def shadowed_by(self, answer: str | None, outcome: Shadowed) -> Self:
        """Return the prediction once it is known what became of the candidate; the first counts."""
        if self.shadowed is not None:
            return self
        return replace(self, shadowed=outcome, shadow_answer=answer)

    @property
    def waits(self) -> bool:
        """True if its label counts only once the candidate has answered."""
        return self.mode is TrialMode.SHADOW and self.shadowed is None

    @property
    def turn(self) -> str | None:
        """Its place in the random and fixed order in which disagreements are to be labelled.

        None if it is none, or has a label.
        """
        disagrees = self.shadow_answer and not same_class(self.answer, self.shadow_answer)
        return sha256(self.id.encode())[:32] if disagrees and self.label is None else None


@dataclass(frozen=True, kw_only=True)
class TrialCounts:
    """The sums over the predictions of a trial."""

    answered_current: int = 0
    answered_candidate: int = 0
    agreed: int = 0  # of a shadow: both versions gave the same class
    disagreed: int = 0
    dropped: int = 0
    failed: int = 0
    labelled_current: int = 0
    right_current: int = 0
    labelled_candidate: int = 0
    right_candidate: int = 0
    labelled_disagreed: int = 0  # of a shadow
    gained: int = 0  # of a shadow: only the candidate is right
    lost: int = 0  # of a shadow: only the current version is right
    same_caller: int = 0  # of a canary: labels that do not count, since one of their caller does
    sampled: int = 0  # of a shadow: images that were kept, also if they are deleted now

    @property
    def answered(self) -> int:
        """The answers of both versions; a prediction of a shadow counts up to twice."""
        return self.answered_current + self.answered_candidate

    @property
    def current(self) -> Hits:
        """The labelled answers of the current version."""
        return Hits(labelled=self.labelled_current, right=self.right_current)

    @property
    def candidate(self) -> Hits:
        """The labelled answers of the candidate."""
        return Hits(labelled=self.labelled_candidate, right=self.right_candidate)

    @property
    def pairs(self) -> Pairs:
        """The images that both versions of a shadow have answered."""
        return Pairs(
            agreed=self.agreed,
            disagreed=self.disagreed,
            labelled=self.labelled_disagreed,
            gained=self.gained,
            lost=self.lost,
        )

    @property
    def where_agreed(self) -> Hits:
        """The labelled answers that both versions of a shadow gave."""
        return Hits(
            labelled=self.labelled_current - self.labelled_disagreed,
            right=self.right_current - self.lost,
        )

    def accuracy(self, mode: TrialMode, arm: Arm) -> float | None:
        """Return the accuracy of a version, None where the labels cannot tell it.

        Of a shadow it is that of labelled agreements and that of labelled disagreements, weighed by
        how often the versions agree and disagree: whoever labels mostly disagreements would
        otherwise see mostly wrong answers.
        """
        if mode is TrialMode.CANARY:
            return (self.candidate if arm is Arm.CANDIDATE else self.current).accuracy
        alone = self.gained if arm is Arm.CANDIDATE else self.lost
        disagreed = Hits(labelled=self.labelled_disagreed, right=alone)
        total = 0.0
        for answers, hits in ((self.agreed, self.where_agreed), (self.disagreed, disagreed)):
            if answers and hits.accuracy is None:
                return None
            total += answers * (hits.accuracy or 0)
        both = self.agreed + self.disagreed
        return total / both if both else None


COUNTS = tuple(field.name for field in fields(TrialCounts))


def tally(prediction: Prediction) -> Counter[str]:
    """Return what a prediction counts for, by names of `TrialCounts`.

    A change of a prediction counts for the tally after it less that before it, so that what is
    repeated counts once.
    """
    found = Counter({f"answered_{prediction.arm}": 1})
    if prediction.mode is TrialMode.SHADOW:
        return found + _shadow(prediction)
    if prediction.same_caller:
        found["same_caller"] += 1
    elif prediction.label is not None:
        found += _labelled(prediction.arm, right=same_class(prediction.answer, prediction.label))
    return found


def same_class(one: str, other: str) -> bool:
    """Return whether two names are those of one class, which their case does not tell apart."""
    return one.lower() == other.lower()


def _shadow(prediction: Prediction) -> Counter[str]:
    if prediction.shadowed is None:
        return Counter()
    if prediction.shadow_answer is None:
        return Counter({prediction.shadowed.value: 1})
    agreed = same_class(prediction.answer, prediction.shadow_answer)
    found = Counter({"answered_candidate": 1, "agreed" if agreed else "disagreed": 1})
    if prediction.label is None:
        return found
    before = same_class(prediction.answer, prediction.label)
    now = same_class(prediction.shadow_answer, prediction.label)
    found += _labelled(Arm.CURRENT, right=before) + _labelled(Arm.CANDIDATE, right=now)
    if not agreed:
        found["labelled_disagreed"] += 1
    if before != now:
        found["gained" if now else "lost"] += 1
    return found


def _labelled(arm: Arm, *, right: bool) -> Counter[str]:
    return Counter({f"labelled_{arm}": 1, f"right_{arm}": int(right)})


# A sequential test of the candidate by labels, valid whenever one looks.


class TrialVerdict(StrEnum):
    """A comparison of the candidate with the current version."""

    BETTER = "better"
    WORSE = "worse"
    UNDECIDED = "undecided"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The accuracy of the candidate less that of the current version."""

    estimate: float | None  # None until both have a label, of a shadow until a disagreement has
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
    if mode is TrialMode.SHADOW:
        estimate, interval = counts.pairs.difference, paired_difference(counts.pairs)
    else:
        before, now = counts.current.accuracy, counts.candidate.accuracy
        estimate = None if before is None or now is None else now - before
        interval = independent_difference(counts.current, counts.candidate)
    return Evidence(estimate=estimate, interval=interval, confidence=CONFIDENCE)


# The course of a trial: what its labels said, at growing numbers of labels.

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
    """Return how many labels tell the versions apart: of a shadow those of disagreements."""
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


# Samples of a trial: images about which its two versions disagree.


@dataclass(frozen=True, kw_only=True)
class Sample:
    """An image that a caller sent, kept with both answers; a trial keeps an image once."""

    trial: TrialId
    pixels: Digest
    artifact: Digest  # its stored form
    size: int  # bytes of that
    prediction: PredictionId
    answer: str  # the class that went out
    shadow_answer: str  # the candidate's class
    at: datetime
