"""Trials: a second version behind an alias, before it may take the first one's place."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from core.domain.gate.policy import Verdict
from core.domain.registry.version import Version
from core.domain.values import Digest, Json, ModelId, TrialId, sha256
from core.errors import EvaluationPending, FieldInvalid, GateFailed, TrialEnded

LARGEST_SHARE = 0.5


class TrialMode(StrEnum):
    """A way to ask the candidate."""

    CANARY = "canary"  # it answers a share of the requests
    SHADOW = "shadow"  # it is asked about every image once the current version has answered


class TrialEnd(StrEnum):
    """Why a trial ended."""

    PROMOTED = "promoted"  # the alias moved to the candidate
    STOPPED = "stopped"
    ALIAS_MOVED = "alias_moved"  # to another version
    ALIAS_DELETED = "alias_deleted"
    ERASED = "erased"  # an image that the candidate learned from


class Arm(StrEnum):
    """The version whose answer goes out."""

    CURRENT = "current"
    CANDIDATE = "candidate"


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


def require_trial(mode: TrialMode, *, current: Version, candidate: Version, scores: Json) -> None:
    """Raise unless a version may be tried beside the current one.

    A shadow's answers are seen by nobody, so any version with weights may be one. A canary answers
    callers: the gate must have judged it, and must not have failed it. Raises FieldInvalid,
    ArtifactGone, LearnedErasedImages, EvaluationPending or GateFailed with the scores.
    """
    if candidate.digest == current.digest:
        raise FieldInvalid(
            f"Version {candidate.number} has the weights of version {current.number}, at which "
            "the alias points.",
            pointer="/version",
        )
    candidate.require_weights()
    candidate.require_clean()
    if mode is TrialMode.SHADOW or candidate.is_root:
        return
    if candidate.verdict is None:
        raise EvaluationPending(version=candidate.number)
    if candidate.verdict is Verdict.FAILED:
        raise GateFailed(
            f"The gate failed version {candidate.number}, so it may not answer callers: try it "
            "as a shadow.",
            version=candidate.number,
            verdict=candidate.verdict.value,
            scores=scores,
        )
