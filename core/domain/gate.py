"""The gate: when may a version go live."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from core.domain.values import PolicyId


class Verdict(StrEnum):
    """The gate's three words."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, kw_only=True)
class GatePolicy:
    """How much a version may forget. Fractions of 1: 0.03 is three points."""

    id: PolicyId
    name: str
    parent_tolerance: float = 0.03  # suites, against the parent
    root_tolerance: float = 0.05  # suites, against the root
    holdout_tolerance: float = 0.05  # earlier holdouts, against the version that learned them
    wanted_gain: float = 0.0  # lower bound of the gain on the update's own holdout
    minimum_count: int = 500  # fewer test images: advisory, shown but not judged
    alpha: float = 0.005  # one-sided error of each bound
    reason: str = ""  # why it differs from the defaults, shown in every report
    created_at: datetime
