"""Events: the history of a job."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from core.domain.values import JobId, Json


class EventKind(StrEnum):
    """Kinds of events in a job's history."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    PHASE = "phase"
    PROGRESS = "progress"
    CHECKPOINT = "checkpoint"
    CHECKPOINT_SKIPPED = "checkpoint_skipped"  # the store had no room for one
    CANDIDATE = "candidate"  # an update has made its version
    LEFT_OUT = "left_out"  # a blame has trained without a group and asked about the class
    OUT_OF_MEMORY = "out_of_memory"  # the job goes on with smaller batches
    SLOW_PRECISION = "slow_precision"
    ENVIRONMENT_CHANGED = "environment_changed"
    RELEASED = "released"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"  # before any worker claimed it
    DONE = "done"


@dataclass(frozen=True, kw_only=True)
class JobEvent:
    """An event in a job's history; `sequence` counts from 1 within the job."""

    job: JobId
    sequence: int
    kind: str  # an EventKind, or one that a later release has written
    data: Json
    at: datetime
