"""The time and memory that an import of images took."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Seconds of wall-clock time, and of CPU time of all processes that did the work."""

    seconds: float
    cpu: float
