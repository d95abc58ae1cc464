"""Workers' heartbeats."""

from dataclasses import dataclass

from core.values import Json

# Ports for worker heartbeats, counters and gauges.


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """The last heartbeat of a worker."""

    worker: str
    facts: Json
    age_s: float  # by the database's clock
