"""Counters, and the histogram buckets of durations."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# Upper bounds in seconds: from an immediate claim to a night of training.
BUCKETS = (0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0, math.inf)

JOBS_ENDED = "jobs_ended"  # by type, status and, if judged, verdict
PHASE_SECONDS = "phase_seconds"  # by type and phase; "queued" is the wait for the first claim


@dataclass(frozen=True, kw_only=True)
class CounterValue:
    """The value of the counter of a name and labels since the database was created."""

    name: str
    labels: Mapping[str, str]
    value: float


def duration(
    labels: Mapping[str, str], seconds: float
) -> Iterator[tuple[Mapping[str, str], float]]:
    """Yield what a duration adds to its counters: 1 to its bucket, its seconds to the sum."""
    bound = next(bound for bound in BUCKETS if seconds <= bound)
    yield {**labels, "le": str(bound)}, 1.0
    yield {**labels, "sum": ""}, seconds
