"""The whole service in numbers, at one moment, from one read-only transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from core.domain.jobs.counter import CounterValue
from core.ports import Heartbeat, OutboxGauge, Platform, QueueGauge, RunningGauge


@dataclass(frozen=True, kw_only=True)
class ServiceStats:
    """The state of the service as the database has it now."""

    at: datetime
    queue: Sequence[QueueGauge]
    running: Sequence[RunningGauge]
    heartbeats: Sequence[Heartbeat]
    versions: Mapping[tuple[str, str], int]
    alias_moves: Mapping[str, int]
    outbox: OutboxGauge
    counters: Sequence[CounterValue]


def read_stats(platform: Platform) -> ServiceStats:
    """Read it all; the cost does not grow with the number of ended jobs. Raises Unavailable."""
    with platform.transactions(read_only=True) as work:
        return ServiceStats(
            at=platform.clock(),
            queue=work.gauges.queue(),
            running=work.gauges.running(),
            heartbeats=work.heartbeats.all(),
            versions=work.gauges.versions(),
            alias_moves=work.gauges.alias_moves(),
            outbox=work.gauges.outbox(),
            counters=work.counters.all(),
        )
