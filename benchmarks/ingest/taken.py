"""The time that images took, in the service and in the bare loop."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Seconds of wall-clock time, and of CPU time of all processes that did the work."""

    seconds: float
    cpu: float

    def __add__(self, other: "Taken") -> "Taken":
        """Return the time of both."""
        return Taken(seconds=self.seconds + other.seconds, cpu=self.cpu + other.cpu)


@dataclass(frozen=True, kw_only=True)
class Window:
    """The same images in the service and, half of them before and half after, in the bare loop."""

    images: int
    service: Taken
    bare: Taken


def compared(windows: Sequence[Window]) -> dict[str, Any]:
    """Return the columns of a table: rates, CPU times, and the median of the windows' ratios."""
    images = sum(window.images for window in windows)
    ratios = [window.bare.seconds / window.service.seconds for window in windows]
    by_cpu = [window.bare.cpu / window.service.cpu for window in windows]
    return {
        "images/s": images / sum(window.service.seconds for window in windows),
        "bare images/s": images / sum(window.bare.seconds for window in windows),
        "CPU ms": 1000 * sum(window.service.cpu for window in windows) / images,
        "bare CPU ms": 1000 * sum(window.bare.cpu for window in windows) / images,
        "windows": len(windows),
        "ratio": median(ratios),
        "lowest to highest": f"{min(ratios):.2f} to {max(ratios):.2f}",
        "ratio by CPU": median(by_cpu),
        "lowest to highest by CPU": f"{min(by_cpu):.2f} to {max(by_cpu):.2f}",
    }
