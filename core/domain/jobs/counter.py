"""Numbers that only grow, and the buckets that durations are counted in."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# Upper bounds in seconds: from a claim that comes at once to a night of training.
BUCKETS = (0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0, math.inf)

JOBS_ENDED = "jobs_ended"  # by type, status and, for those that were judged, verdict
PHASE_SECONDS = "phase_seconds"  # by type and phase; "queued" is the wait for the first claim


@dataclass(frozen=True, kw_only=True)
class CounterValue:
    """What has been counted under a name and labels since the database was made."""

    name: str
    labels: Mapping[str, str]
    value: float


def duration(
    labels: Mapping[str, str], seconds: float
) -> Iterator[tuple[Mapping[str, str], float]]:
    """What one duration adds to its tallies: one to its bucket, its seconds to the sum."""
    bound = next(bound for bound in BUCKETS if seconds <= bound)
    yield {**labels, "le": str(bound)}, 1.0
    yield {**labels, "sum": ""}, seconds
