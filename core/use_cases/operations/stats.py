"""The whole service in numbers, at one moment, from one read-only transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from core.domain.jobs.counter import Tally
from core.ports import Beat, Platform, QueueFigure, RunningFigure


@dataclass(frozen=True, kw_only=True)
class State:
    """What the database says now."""

    at: datetime
    queue: Sequence[QueueFigure]
    running: Sequence[RunningFigure]
    beats: Sequence[Beat]
    versions: Mapping[tuple[str, str], int]
    alias_moves: Mapping[str, int]
    tallies: Sequence[Tally]


def read_state(platform: Platform) -> State:
    """Read it all; the cost does not grow with the number of ended jobs. Raises Unavailable."""
    with platform.transactions(read_only=True) as work:
        return State(
            at=platform.clock(),
            queue=work.figures.queue(),
            running=work.figures.running(),
            beats=work.beats.all(),
            versions=work.figures.versions(),
            alias_moves=work.figures.alias_moves(),
            tallies=work.tallies.all(),
        )
