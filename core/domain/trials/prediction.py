"""Predictions made during a trial, their labels, and what they count for."""

from collections import Counter
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Self

from core.domain.trials.confidence_sequence import Hits, Pairs
from core.domain.trials.trial import Arm, TrialMode
from core.domain.values import Digest, PredictionId, TrialId
from core.errors import PredictionLabelled


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
    gained: int = 0  # of a shadow: only the candidate is right
    lost: int = 0  # of a shadow: only the current version is right
    same_caller: int = 0  # of a canary: labels that do not count, since one of their caller does
    sampled: int = 0  # of a shadow: images that were kept, also if they are deleted now

    @property
    def answered(self) -> int:
        """The answers of both versions: at least as many as there were predictions."""
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
        """The labelled images that both versions have answered, of a shadow."""
        return Pairs(labelled=self.labelled_candidate, gained=self.gained, lost=self.lost)


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
    if before != now:
        found["gained" if now else "lost"] += 1
    return found


def _labelled(arm: Arm, *, right: bool) -> Counter[str]:
    return Counter({f"labelled_{arm}": 1, f"right_{arm}": int(right)})
